package memory_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/memory"
)

func TestCompactionAnnouncesEachClaimableTaskAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t1", "t2", "t3")
		a := join(t, b, "a")
		a.watch()
		a.wantAnnounced("t1", "t2", "t3")
		a.claim("t2")
		b.Compact()
		a.wantAnnounced("t1", "t3")
		submit(t, b, "t4")
		a.wantAnnounced("t4")
	})
}

func TestWatchMissesNothingOfAPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "released", "expired", "taken", "untouched")
		a, other, dying := join(t, b, "a"), join(t, b, "other"), join(t, b, "dying")
		a.watch()
		a.wantAnnounced("released", "expired", "taken", "untouched")
		released := other.claim("released")
		dying.claim("expired")

		b.Partition("a")
		b.Kill("dying")
		if err := other.Release(t.Context(), released[0]); err != nil {
			t.Fatal(err)
		}
		submit(t, b, "new", "replaced")
		if err := b.Client().DeleteTask(t.Context(), "replaced"); err != nil {
			t.Fatal(err)
		}
		submit(t, b, "replaced")
		other.claim("taken")
		time.Sleep(ttl)
		a.wantAnnounced()

		b.Heal("a")
		a.wantAnnounced("released", "new", "replaced", "expired")
	})
}

// What was claimed while nobody received is not announced late.
func TestSlowReceiverIsToldOfPresentTasksOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "first")
		decoded := 0
		a := join(t, b, "a", memory.WithTaskFunc(func(id string, props []byte) (metafora.Task, error) {
			decoded++
			return metafora.PlainTask(id, props)
		}))
		other := join(t, b, "other")
		tasks := a.watchUnread()
		synctest.Wait() // it blocks in sending the first one

		ids := numbered(100)
		submit(t, b, ids...)
		submit(t, b, "last")
		other.claim(ids[:40]...)
		go a.note(tasks)
		want := slices.Concat([]string{"first"}, ids[40:], []string{"last"})
		a.wantAnnounced(want...)
		if decoded != len(want) {
			t.Fatalf("the TaskFunc was called %d times for %d announcements", decoded, len(want))
		}
	})
}

// job is a Task whose pointers differ from announcement to announcement.
type job struct {
	id   string
	Text string
}

func (j *job) ID() string     { return j.id }
func (j *job) String() string { return j.id + ":" + j.Text }

// list is a Task that == cannot compare.
type list []string

func (l list) ID() string { return l[0] }

func decodeJob(id string, props []byte) (metafora.Task, error) {
	j := &job{id: id}
	return j, json.Unmarshal(props, j)
}

func decodeList(_ string, props []byte) (metafora.Task, error) {
	var l list
	return l, json.Unmarshal(props, &l)
}

// newestAnnounced returns the Task that a node announced last.
func newestAnnounced(n *node) metafora.Task {
	n.t.Helper()
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.announced) == 0 {
		n.t.Fatalf("node %q announced nothing", n.Name())
	}
	return n.announced[len(n.announced)-1]
}

func TestTaskOfAnEarlierSubmissionClaimsNothing(t *testing.T) {
	for name, kind := range map[string]struct {
		decode   metafora.TaskFunc
		old, new metafora.Task
	}{
		"pointers":     {decodeJob, &job{"t", "old"}, &job{"t", "new"}},
		"same pointee": {decodeJob, &job{"t", "same"}, &job{"t", "same"}},
		"slices":       {decodeList, list{"t", "old"}, list{"t", "new"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memory.NewBroker(memory.WithTaskFunc(kind.decode))
				a, late := join(t, b, "a"), join(t, b, "late")
				a.watch()
				client := b.Client()
				wantNoErr(t, client.SubmitTask(t.Context(), kind.old))
				old := newestAnnounced(a)

				// Before the new submission is announced, and after.
				b.Partition("a")
				wantNoErr(t, client.DeleteTask(t.Context(), "t"))
				wantNoErr(t, client.SubmitTask(t.Context(), kind.new))
				b.Heal("a")
				synctest.Wait()
				_, err := a.Claim(t.Context(), old)
				wantErr(t, err, metafora.ErrNoTask)

				// A node that announced neither has no stale Task.
				claim, err := late.Claim(t.Context(), metafora.NewTask("t"))
				wantNoErr(t, err)
				wantNoErr(t, late.Release(t.Context(), claim))

				fresh := newestAnnounced(a)
				_, err = a.Claim(t.Context(), fresh)
				wantNoErr(t, err)
			})
		})
	}
}

func TestTaskIsStaleBeforeTheNewSubmissionIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "t", "in the way")
		a := join(t, b, "a")
		tasks := a.watchUnread()
		old := <-tasks
		synctest.Wait()
		wantNoErr(t, b.Client().DeleteTask(t.Context(), "t"))
		submit(t, b, "t")

		_, err := a.Claim(t.Context(), old)
		wantErr(t, err, metafora.ErrNoTask)
		<-tasks
		fresh := <-tasks
		_, err = a.Claim(t.Context(), fresh)
		wantNoErr(t, err)
	})
}

// A Task may be announced several times while it waits; all of them can claim.
func TestAnyTaskOfTheOnlySubmissionClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker(memory.WithTaskFunc(decodeJob))
		wantNoErr(t, b.Client().SubmitTask(t.Context(), &job{"t", "text"}))
		a := join(t, b, "a")
		a.watch()
		first := newestAnnounced(a)
		b.Compact()
		a.wantAnnounced("t", "t")
		claim, err := a.Claim(t.Context(), first)
		wantNoErr(t, err)
		wantNoErr(t, a.Release(t.Context(), claim))
	})
}

// A Coordinator takes the number of one that is closed, not its announcements.
func TestAnnouncementsAreForgottenWithTheirNode(t *testing.T) {
	const closeIt, deleteIt, submitIt = "close", "delete", "submit"
	for _, order := range [][]string{
		{closeIt, deleteIt, submitIt},
		{deleteIt, closeIt, submitIt},
		{deleteIt, submitIt, closeIt},
	} {
		t.Run(strings.Join(order, ", "), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := memory.NewBroker(memory.WithTaskFunc(decodeJob))
				client := b.Client()
				wantNoErr(t, client.SubmitTask(t.Context(), &job{"t", "text"}))
				watcher := join(t, b, "watcher")
				watcher.watch()
				watcher.wantAnnounced("t")
				for _, step := range order {
					switch step {
					case closeIt:
						wantNoErr(t, watcher.Close())
					case deleteIt:
						wantNoErr(t, client.DeleteTask(t.Context(), "t"))
					case submitIt:
						wantNoErr(t, client.SubmitTask(t.Context(), &job{"t", "text"}))
					}
				}
				// This one has no Task of any submission from its watch.
				_, err := join(t, b, "a").Claim(t.Context(), &job{"t", "made by hand"})
				wantNoErr(t, err)
			})
		})
	}
}

func TestTaskThatEndsWhileItIsDecodedIsNotAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker()
		submit(t, b, "deleted", "kept")
		a := join(t, b, "a", memory.WithTaskFunc(func(id string, props []byte) (metafora.Task, error) {
			if id == "deleted" {
				wantNoErr(t, b.Client().DeleteTask(t.Context(), id))
			}
			return metafora.PlainTask(id, props)
		}))
		a.watch()
		a.wantAnnounced("kept")
	})
}

func TestTaskFuncFailuresSkipTheTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := memory.NewBroker(memory.WithTaskFunc(func(id string, props []byte) (metafora.Task, error) {
			switch string(props) {
			case "panic":
				panic("cannot read it")
			case "error":
				return nil, errors.New("cannot read it")
			case "nil":
				return nil, nil
			}
			return metafora.NewTask(id), nil
		}))
		for _, value := range []string{"panic", "error", "nil", "fine"} {
			wantNoErr(t, b.PutRawTask(value, []byte(value)))
		}
		a := join(t, b, "a")
		a.watch()
		a.wantAnnounced("fine")
		wantErr(t, b.PutRawTask("fine", nil), metafora.ErrTaskExists)
		wantErr(t, b.PutRawTask("", nil), metafora.ErrInvalidID)
		info, err := b.Client().Task(t.Context(), "panic")
		if err != nil || info.Props != nil {
			t.Fatalf("properties that are no JSON were returned: %q, %v", info.Props, err)
		}
	})
}
