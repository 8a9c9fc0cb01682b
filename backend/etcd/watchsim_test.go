package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/simtest/simetcd"
)

func wantIDs(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func (s *sim) compact() {
	s.t.Helper()
	if rev := s.Revision(); rev > s.Compacted() {
		if err := s.Compact(rev); err != nil {
			s.t.Error(err)
		}
	}
}

func TestHistoryCompactedWhileAwayIsListed(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a, b := s.node("a", etcd.Options{}), s.node("b", etcd.Options{})
		s.submit("kept", "stolen", "deleted", "waiting", "theirs")
		a.announced()
		claims := a.claimed("kept", "stolen", "deleted")
		theirs := b.claimed("theirs")[0]
		synctest.Wait()

		a.conn.Disconnect()
		ctx, operator := t.Context(), s.client(nil)
		if _, err := s.Client("operator", nil).Delete(ctx, "/metafora/tasks/stolen/owner"); err != nil {
			t.Fatal(err)
		}
		err := errors.Join(operator.DeleteTask(ctx, "deleted"), operator.DeleteTask(ctx, "waiting"),
			b.Release(ctx, theirs), operator.SubmitTask(ctx, metafora.NewTask("new")))
		if err != nil {
			t.Fatal(err)
		}
		s.compact()
		a.conn.Reconnect()
		wantIDs(t, "announced", a.announced(), "stolen", "theirs", "new")
		if got := a.losses(); !slices.Equal(got, []metafora.Claim{claims[2], claims[1]}) {
			t.Errorf("lost %v, want %v", got, claims[1:])
		}
		got := a.Stats()
		if got.Compactions == 0 || got.Repairs != 0 || got.Tasks != 4 {
			t.Errorf("%d compactions, %d repairs, %d tasks", got.Compactions, got.Repairs, got.Tasks)
		}
		s.submit("newer") // the watch goes on
		wantIDs(t, "announced", a.announced(), "newer")
	})
}

func TestCompactionUnderALiveWatchGoesUnnoticed(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a := s.node("a", etcd.Options{})
		for i := range 10 {
			s.submit(fmt.Sprint(i))
			s.compact()
		}
		if got := len(a.announced()); got != 10 {
			t.Errorf("%d tasks announced", got)
		}
		if got := a.Stats(); got.Lists != 3 || got.WatchRestarts != 0 {
			t.Errorf("%d lists, %d restarts", got.Lists, got.WatchRestarts)
		}
	})
}

// The list takes several requests, and what it reads is compacted in between:
// once, or always.
func TestCompactionDuringTheFirstList(t *testing.T) {
	const tasks = 4500
	for name, always := range map[string]bool{"once": false, "always": true} {
		t.Run(name, func(t *testing.T) {
			inSim(t, func(t *testing.T, s *sim) {
				var ids []metafora.Task
				for i := range tasks {
					ids = append(ids, metafora.NewTask(fmt.Sprint(i)))
				}
				if err := s.client(nil).SubmitTasks(t.Context(), ids); err != nil {
					t.Fatal(err)
				}
				operator := s.Client("operator", nil)
				a := s.newNode("a", etcd.Options{})
				hits := 0
				a.gate.set(kinds(func(ctx context.Context, c *simetcd.Call) error {
					if r := c.Request().(*pb.RangeRequest); r.Revision != 0 && (always || hits == 0) {
						hits++
						if _, err := operator.Put(ctx, "/elsewhere", ""); err != nil {
							t.Error(err)
						}
						s.compact()
					}
					return nil
				}, simetcd.KindGet))
				if err := a.Init(t.Context(), a.lost); err != nil {
					t.Fatal(err)
				}
				if got := a.Stats().Tasks; got != tasks || hits == 0 {
					t.Errorf("%d tasks after %d compactions", got, hits)
				}
			})
		})
	}
}

func TestWatchThatEndsIsBegunAgain(t *testing.T) {
	for name, end := range map[string]func(*simetcd.Watch){
		"closed":    (*simetcd.Watch).Close,
		"no leader": func(w *simetcd.Watch) { w.Cancel("etcdserver: no leader") },
		"broken":    (*simetcd.Watch).Break,
	} {
		t.Run(name, func(t *testing.T) {
			inSim(t, func(t *testing.T, s *sim) {
				a := s.node("a", etcd.Options{})
				s.submit("before")
				for range 5 {
					for _, w := range s.Watches() {
						end(w)
					}
					s.submit(fmt.Sprint("during ", time.Now()))
					after(time.Minute)
				}
				if got := a.announced(); len(got) != 6 {
					t.Errorf("announced %q", got)
				}
				if got := a.Stats().Lists; got != 3 {
					t.Errorf("%d lists", got)
				}
			})
		})
	}
}

// etcd has dropped events (issues 18089 and 19179 there).
func TestRelistRepairsWhatTheWatchMissed(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a, b := s.node("a", etcd.Options{RelistInterval: time.Minute}), s.node("b", etcd.Options{})
		s.submit("released", "deleted", "claimed")
		a.announced()
		claim := b.claimed("released")[0]
		synctest.Wait()
		a.conn.loseEvents(func(*clientv3.Event) bool { return true })
		if err := errors.Join(b.Release(t.Context(), claim), s.client(nil).DeleteTask(t.Context(), "deleted")); err != nil {
			t.Fatal(err)
		}
		b.claimed("claimed")
		s.submit("new")
		a.conn.loseEvents(nil)
		wantIDs(t, "announced without the events", a.announced())
		after(time.Minute + time.Second)
		wantIDs(t, "announced after listing again", a.announced(), "released", "new")
		if a.Claimable("deleted") || a.Claimable("claimed") {
			t.Error("what is gone or owned is claimable")
		}
		s.submit("newer") // now it is plain that the events do not come
		if got := a.Stats(); got.Repairs != 4 || got.Tasks != 4 {
			t.Errorf("%d repairs, %d tasks", got.Repairs, got.Tasks)
		}
		after(10 * time.Minute)
		if got := a.Stats(); got.Repairs != 4 || got.Tasks != 4 {
			t.Errorf("ten minutes later: %d repairs, %d tasks", got.Repairs, got.Tasks)
		}
	})
}

// Nothing happens after what the watch has missed, until the second list.
func TestRepairsAreCountedInAQuietCluster(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a := s.node("a", etcd.Options{RelistInterval: time.Minute})
		s.submit("t")
		a.conn.loseEvents(func(*clientv3.Event) bool { return true })
		if err := s.client(nil).DeleteTask(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
		after(2*time.Minute + time.Second)
		if got := a.Stats(); got.Repairs != 1 {
			t.Errorf("%d repairs, %d tasks", got.Repairs, got.Tasks)
		}
	})
}

// A watch that is merely behind has missed nothing.
func TestRelistAheadOfTheWatchRepairsNothing(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a, b := s.node("a", etcd.Options{RelistInterval: time.Minute}), s.node("b", etcd.Options{})
		s.submit("t1", "t2")
		a.announced()
		claims := b.claimed("t1", "t2")
		synctest.Wait()
		a.conn.holdWatch()
		if err := errors.Join(b.Done(t.Context(), claims[0]), b.Release(t.Context(), claims[1])); err != nil {
			t.Fatal(err)
		}
		s.submit("t3")
		after(time.Minute + time.Second)
		wantIDs(t, "announced by the list", a.announced(), "t2", "t3")
		claim := a.claimed("t2")[0]
		a.conn.resumeWatch()
		after(5 * time.Minute)
		wantIDs(t, "announced by the watch", a.announced())
		if got := a.losses(); len(got) > 0 || s.owner("t2") != claim.Fence {
			t.Errorf("lost %v", got)
		}
		if got := a.Stats(); got.Repairs != 0 || got.Orphans != 0 || got.Tasks != 2 {
			t.Errorf("%d repairs, %d orphans, %d tasks", got.Repairs, got.Orphans, got.Tasks)
		}
	})
}

// What a reply has told must not be undone by older events, nor be taken for a
// claim that nobody runs.
func TestWatchBehindRepliesChangesNothing(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a, b := s.node("a", etcd.Options{}), s.node("b", etcd.Options{})
		s.submit("t")
		if err := b.Release(t.Context(), b.claimed("t")[0]); err != nil {
			t.Fatal(err)
		}
		a.announced()
		a.conn.holdWatch()
		for range 3 {
			if err := a.Release(t.Context(), a.claimed("t")[0]); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Done(t.Context(), a.claimed("t")[0]); err != nil {
			t.Fatal(err)
		}
		a.announced()
		a.conn.resumeWatch()
		wantIDs(t, "announced by old events", a.announced())
		if got := a.Stats(); got.Orphans != 0 || got.Tasks != 0 || got.Owned != 0 {
			t.Errorf("%d orphans, %d tasks, %d owned", got.Orphans, got.Tasks, got.Owned)
		}
		if got := a.losses(); len(got) > 0 {
			t.Errorf("lost %v", got)
		}
	})
}

// The event that a done task waits for was compacted.
func TestDoneTaskIsForgottenAfterACompaction(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a := s.node("a", etcd.Options{})
		s.submit("t")
		claim := a.claimed("t")[0]
		synctest.Wait()
		a.conn.loseEvents(func(*clientv3.Event) bool { return true }) // until they are compacted
		if err := a.Done(t.Context(), claim); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, w := range s.Watches() {
			w.Cancel("etcdserver: no leader")
		}
		a.gate.next(3, simetcd.KindWatch, func(context.Context, *simetcd.Call) error {
			s.compact()
			return nil
		})
		if _, err := s.Client("operator", nil).Put(t.Context(), "/elsewhere", ""); err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		if got := a.Stats(); got.Tasks != 0 || got.Compactions == 0 {
			t.Errorf("%d tasks after %d compactions", got.Tasks, got.Compactions)
		}
	})
}

func TestAnnouncementsComeInTheOrderOfSubmission(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		s.submit("c", "a", "b")
		n := s.node("n", etcd.Options{})
		wantIDs(t, "listed", n.announced(), "c", "a", "b")
		s.submit("e", "d")
		wantIDs(t, "watched", n.announced(), "e", "d")
	})
}

// A Watch that ends with a task in its hands, and another one.
func TestNextWatchAnnouncesWhatTheLastOneHad(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		s.submit("t1", "t2", "t3")
		n := s.newNode("n", etcd.Options{})
		if err := n.Init(t.Context(), n.lost); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		tasks, ended := make(chan metafora.Task), make(chan error, 1)
		go func() { ended <- n.Watch(ctx, tasks) }()
		if got := (<-tasks).ID(); got != "t1" {
			t.Errorf("announced %s first", got)
		}
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		n.watch(t.Context())
		got := n.announced()
		slices.Sort(got)
		wantIDs(t, "announced by the next Watch", got, "t1", "t2", "t3")
	})
}

// One that is stuck holds up neither the other tasks nor what the node knows.
func TestSlowReceiverDoesNotHoldUpTheIndex(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		n := s.newNode("n", etcd.Options{})
		if err := n.Init(t.Context(), n.lost); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- n.Watch(ctx, make(chan metafora.Task)) }()
		s.submit("t1", "t2")
		if !n.Claimable("t2") {
			t.Error("t2 is not known")
		}
		if err := s.client(nil).DeleteTask(t.Context(), "t2"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n.Claimable("t2") {
			t.Error("t2 is still claimable")
		}
		cancel()
		<-ended
	})
}

// What a Coordinator has left to its lease may be running: one of the same name
// that follows it must not release it.
func TestSuccessorLeavesThePredecessorsClaimsAlone(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		first := s.node("a", tenSeconds)
		s.submit("t")
		claim := first.claimed("t")[0]
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		second := s.node("a", tenSeconds)
		after(5 * time.Second)
		if s.owner("t") != claim.Fence {
			t.Error("the successor has released what its predecessor may be running")
		}
		after(6 * time.Second)
		wantIDs(t, "announced after the lease", second.announced(), "t")
		if got := second.Stats(); got.Orphans != 0 {
			t.Errorf("%d orphans", got.Orphans)
		}
	})
}

func TestNodesSeeEachOther(t *testing.T) {
	inSim(t, func(t *testing.T, s *sim) {
		a, b := s.node("a", tenSeconds), s.node("b", etcd.Options{TTL: 10 * time.Second, Weight: 2, Labels: map[string]string{"zone": "x"}})
		s.submit("t1", "t2")
		b.claimed("t1", "t2")
		synctest.Wait()
		if got := fmt.Sprint(a.Nodes()); strings.Count(got, "true") != 2 || !strings.Contains(got, "zone:x") {
			t.Errorf("nodes %s", got)
		}
		if got := a.NodeTaskCount("b"); got != 2 {
			t.Errorf("b has %d tasks", got)
		}
		b.conn.Disconnect()
		after(11 * time.Second)
		if got := a.Nodes(); len(got) != 1 || a.NodeTaskCount("b") != 0 {
			t.Errorf("nodes %v, b has %d tasks", got, a.NodeTaskCount("b"))
		}
	})
}
