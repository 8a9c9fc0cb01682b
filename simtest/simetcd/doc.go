// Package simetcd is etcd for simulations: a [Server] is a key-value store in
// memory that answers as etcd does, and a [Client] stands in for a
// *clientv3.Client where only its KV, Lease and Watcher are needed. Code that
// is written against those interfaces runs on it unmodified.
//
//	server := simetcd.NewServer()
//	defer server.Close()
//	node := server.Client("node-1", nil)
//	coord, err := etcd.New(node, ...)
//
// A differential test holds every answer and every watch event against a real
// etcd of the version in go.mod.
//
// # Fates of calls
//
// Each call of a Client passes its [Gate], a function that decides what becomes
// of it. It may let the call through, hold it, make it fail before it took
// effect, or let it take effect ([Call.Apply]) and make the reply fail, come
// late, or never. Apply runs on the goroutine that calls it, so that a
// scheduler can let requests take effect one by one, in an order of its choice,
// even those whose callers have given up.
//
// # Watches and leases
//
// By itself, a Server delivers watch events at once and revokes leases when
// they expire. With [Manual] it does neither: a scheduler looks at
// [Server.Watches] and decides when a [Watch] gets its next response and how
// many revisions that holds, breaks its stream, cancels or closes it; and it
// calls [Server.Expire] for leases.
//
// # In a synctest bubble
//
// Everything that blocks here blocks on channels made by the Client's caller's
// bubble, and time is that of package time. In Manual mode a Server has no timers
// and no goroutine but one for each open watch and each [Client.KeepAlive];
// the same calls and decisions in the same order give the same results.
//
// # Differences from etcd
//
// There is no authentication, no quota, no member that lags behind: every read
// is linearizable. Responses, keys and values may be shared between clients and
// must not be modified. GetStream is answered as by a server that does not know
// it. WithFragment changes nothing, because clientv3 puts fragments together
// before it hands them out; for the same reason the events of one revision
// always come in one response. Progress is notified on request, or by a
// scheduler, but not every ten minutes. Failed reads are not retried by the
// Client: whether a Gate fails them is the whole story.
package simetcd
