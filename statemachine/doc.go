// Package statemachine runs tasks that sleep, pause, fail and try again, whose
// state outlives the node that runs them, and that take commands.
//
// Begin with a [StatefulHandler]: a function that works until it is done or a
// command arrives, and answers with a [Message], which decides the task's next
// state. The backend's NewService makes a node of it, with a [Config]:
//
//	func handle(ctx context.Context, task metafora.Task, commands <-chan statemachine.Message) statemachine.Message {
//		select {
//		case m := <-commands: // pause, kill, release, ...
//			return m
//		case err := <-work(ctx, task):
//			if err != nil {
//				return statemachine.Error(err) // tried again later
//			}
//			return statemachine.Complete()
//		}
//	}
//
//	node, err := etcd.NewService(cli, "node-1", statemachine.Config{
//		Handler:  handle,
//		Balancer: func(cs metafora.ClusterState) metafora.Balancer { return balance.NewRendezvous(cs) },
//	}, etcd.Options{Namespace: "/prod"})
//	...
//	err = node.Run(ctx)
//
// Package memory has the same for tests. Anyone with a Client of the backend,
// which is a [Commander], sends messages to tasks:
//
//	err := node.Client.Send(ctx, "task-1", statemachine.Sleep(tomorrow))
//
// A program that makes its Coordinator itself calls [NewConsumer], and one that
// makes its Consumer itself [HandlerFunc].
//
// # States
//
// A task is runnable, sleeping until a time, paused, or in fault, and in the end
// completed, failed or killed. [Rules] is the table of what leads where; the page
// docs/statemachine.md shows it with a diagram. An Error goes to the
// [ErrHandler], which has the task try again later, or fail.
//
// # What is promised
//
// Each change of state is stored before anything follows from it, under the
// claim only: an owner that was replaced cannot write. The command that a change
// follows from is removed in the same write, so that it takes effect once,
// however often the task is handed over and wherever a node crashes. A deadline
// to sleep until stays the same across hand-overs. A task is done only when its
// terminal state is stored: while the broker cannot be reached it is released
// instead, and its last answer may be computed again.
package statemachine
