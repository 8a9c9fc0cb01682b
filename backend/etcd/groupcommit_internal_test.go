package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/simtest/simetcd"
)

// committing is a committer of one sender on a simulated etcd. It records its
// transactions; while held, each waits for a fate.
type committing struct {
	*committer
	*simetcd.Server
	t *testing.T

	mu    sync.Mutex
	held  bool
	sizes []int // operations of each transaction
	fates chan error
}

func inCommitter(t *testing.T, test func(t *testing.T, c *committing)) {
	synctest.Test(t, func(t *testing.T) {
		c := &committing{Server: simetcd.NewServer(), t: t, fates: make(chan error)}
		conn := c.Client("n", c.gate)
		o, err := Options{Rand: func() float64 { return 0.5 }}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		c.committer = newCommitter(conn, o, 1, &counters{})
		t.Cleanup(c.Server.Close)
		t.Cleanup(c.committer.close)
		test(t, c)
	})
}

func (c *committing) gate(ctx context.Context, call *simetcd.Call) error {
	r, ok := call.Request().(*pb.TxnRequest)
	if !ok {
		return nil
	}
	c.mu.Lock()
	c.sizes = append(c.sizes, len(r.Success))
	held := c.held
	c.mu.Unlock()
	if !held {
		return nil
	}
	select {
	case err := <-c.fates:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *committing) hold(held bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = held
}

func (c *committing) transactions() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sizes
}

// busy has a transaction under way, which the returned function ends.
func (c *committing) busy() (free func()) {
	c.t.Helper()
	c.hold(true)
	out := c.run(c.t.Context(), putOp("busy", "busy", ""))
	synctest.Wait()
	c.hold(false)
	return func() {
		c.fates <- nil
		if o := <-out; o.err != nil {
			c.t.Error(o.err)
		}
	}
}

func (c *committing) run(ctx context.Context, o op) <-chan outcome {
	out := make(chan outcome, 1)
	go func() { out <- c.do(ctx, o) }()
	return out
}

func putOp(id, key, value string) op {
	return op{id: id, then: []clientv3.Op{clientv3.OpPut(key, value)}}
}

// createOp puts a key that does not exist.
func createOp(key, value string) op {
	return op{
		id:   key,
		cmps: []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", 0)},
		then: []clientv3.Op{clientv3.OpPut(key, value)},
		els:  []clientv3.Op{clientv3.OpGet(key)},
	}
}

func all(t *testing.T, outs []<-chan outcome) {
	t.Helper()
	for i, out := range outs {
		if o := <-out; o.err != nil || !o.held {
			t.Fatalf("operation %d: %+v", i, o)
		}
	}
}

func TestOperationsGatherWhileOneIsUnderWay(t *testing.T) {
	inCommitter(t, func(t *testing.T, c *committing) {
		free := c.busy()
		var outs []<-chan outcome
		for i := range 300 {
			outs = append(outs, c.run(t.Context(), createOp(fmt.Sprint(i), "")))
		}
		synctest.Wait()
		free()
		all(t, outs)
		// Two levels of operations and one spare fit into etcd's 128.
		if got := fmt.Sprint(c.transactions()); got != "[1 126 126 48]" {
			t.Errorf("transactions of %s operations", got)
		}
	})
}

func TestWideOperationsStayWithinTheLimit(t *testing.T) {
	inCommitter(t, func(t *testing.T, c *committing) {
		free := c.busy()
		var outs []<-chan outcome
		for i := range 100 {
			o := createOp(fmt.Sprint(i), "")
			for j := range i {
				o.then = append(o.then, clientv3.OpGet(fmt.Sprint(j)))
			}
			outs = append(outs, c.run(t.Context(), o))
		}
		synctest.Wait()
		free()
		all(t, outs) // the simulated etcd refuses what is too much
	})
}

// Values are not all there is to the size of a request.
func TestRequestsStayWithinBytes(t *testing.T) {
	longKey := strings.Repeat("%F0%9F%90%BC", 512/4)
	for name, make := range map[string]func(i int) op{
		"values": func(i int) op { return createOp(fmt.Sprint(i), strings.Repeat("v", 300<<10)) },
		"keys": func(i int) op {
			o := createOp(fmt.Sprint(i, longKey), "")
			for range 8 {
				o.els = append(o.els, clientv3.OpGet(fmt.Sprint(i, longKey)))
			}
			return o
		},
		"nested": func(i int) op {
			o := createOp(fmt.Sprint(i), "")
			o.then = append(o.then, clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut(fmt.Sprint("x", i), strings.Repeat("v", 300<<10))}, nil))
			return o
		},
	} {
		t.Run(name, func(t *testing.T) {
			inCommitter(t, func(t *testing.T, c *committing) {
				free := c.busy()
				var outs []<-chan outcome
				for i := range 120 {
					outs = append(outs, c.run(t.Context(), make(i)))
				}
				synctest.Wait()
				free()
				all(t, outs)
				if n := c.stats.transactionFailures.Load(); n > 0 {
					t.Errorf("%d transactions were refused: %v", n, c.transactions())
				}
			})
		})
	}
}

// etcd refuses a transaction that writes a key twice.
func TestNoKeyTwiceInOneTransaction(t *testing.T) {
	inCommitter(t, func(t *testing.T, c *committing) {
		free := c.busy()
		var outs []<-chan outcome
		for i := range 3 {
			outs = append(outs, c.run(t.Context(), putOp("same", "same", fmt.Sprint(i))))
			synctest.Wait()
			outs = append(outs, c.run(t.Context(), putOp(fmt.Sprint(i), fmt.Sprint(i), "")))
			synctest.Wait()
		}
		free()
		all(t, outs)
		if got := fmt.Sprint(c.transactions()); got != "[1 4 1 1]" {
			t.Errorf("transactions of %s operations", got)
		}
		if n := c.stats.transactionFailures.Load(); n > 0 {
			t.Errorf("%d transactions were refused", n)
		}
		if got := c.Get("same").Value; string(got) != "2" {
			t.Errorf("the last write has not won: %s", got)
		}
	})
}

func TestPoisonedOperationSparesTheOthers(t *testing.T) {
	for name, tc := range map[string]struct {
		poison op
		want   error
	}{
		"refused":    {op{id: "p", then: []clientv3.Op{clientv3.OpPut("p", "", clientv3.WithLease(4711))}}, rpctypes.ErrLeaseNotFound},
		"lease lost": {op{id: "p", then: []clientv3.Op{clientv3.OpPut("p", "", clientv3.WithLease(4711))}, leased: true}, metafora.ErrLeaseLost},
	} {
		t.Run(name, func(t *testing.T) {
			inCommitter(t, func(t *testing.T, c *committing) {
				free := c.busy()
				var outs []<-chan outcome
				var poisoned <-chan outcome
				for i := range 120 {
					if i == 77 {
						poisoned = c.run(t.Context(), tc.poison)
					}
					outs = append(outs, c.run(t.Context(), createOp(fmt.Sprint(i), "")))
				}
				synctest.Wait()
				free()
				all(t, outs)
				if out := <-poisoned; !errors.Is(out.err, tc.want) || out.uncertain {
					t.Errorf("poisoned operation: %+v", out)
				}
				// One by one it would be 122.
				if n := len(c.transactions()); n > 20 {
					t.Errorf("%d transactions: %v", n, c.transactions())
				}
			})
		})
	}
}

func TestLostReplyIsAskedForAgain(t *testing.T) {
	for name, fate := range map[string]func(*simetcd.Call) error{
		"took effect": func(c *simetcd.Call) error { c.Apply(); return simetcd.ErrUnavailable },
		"no effect":   func(*simetcd.Call) error { return simetcd.ErrUnavailable },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := simetcd.NewServer()
				defer server.Close()
				attempts := 0
				conn := server.Client("n", func(_ context.Context, call *simetcd.Call) error {
					switch attempts++; attempts {
					case 1, 2:
						return fate(call)
					case 3: // a certain refusal does not make up for them
						return rpctypes.ErrGRPCRequestTooManyRequests
					}
					return nil
				})
				o, _ := Options{}.withDefaults()
				c := newCommitter(conn, o, 1, &counters{})
				defer c.close()
				out := c.do(t.Context(), createOp("k", "v"))
				took := name == "took effect"
				if out.err != nil || !out.uncertain || out.held == took || attempts != 4 {
					t.Errorf("after %d attempts: %+v", attempts, out)
				}
				if took && string(out.kv(0).Value) != "v" {
					t.Errorf("read back %v", out.kv(0))
				}
			})
		})
	}
}

func TestOperationThatGoesOnceIsNotRepeated(t *testing.T) {
	inCommitter(t, func(t *testing.T, c *committing) {
		c.hold(true)
		o := createOp("k", "")
		o.once = true
		out := c.run(t.Context(), o)
		c.fates <- simetcd.ErrUnavailable
		if out := <-out; out.err == nil || !out.uncertain {
			t.Errorf("outcome %+v", out)
		}
		if got := c.transactions(); len(got) != 1 {
			t.Errorf("%d attempts", len(got))
		}
	})
}

// etcd refuses when it is overloaded: that is certain, and worth another try.
func TestOverloadedEtcdIsAskedAgain(t *testing.T) {
	inCommitter(t, func(t *testing.T, c *committing) {
		c.hold(true)
		o := createOp("k", "")
		o.once = true
		out := c.run(t.Context(), o)
		c.fates <- rpctypes.ErrGRPCRequestTooManyRequests
		c.fates <- nil
		if out := <-out; out.err != nil || !out.held || out.uncertain {
			t.Errorf("outcome %+v", out)
		}
	})
}

func TestContextEndsWhileQueued(t *testing.T) {
	inCommitter(t, func(t *testing.T, c *committing) {
		free := c.busy()
		cause := errors.New("changed my mind")
		ctx, cancel := context.WithCancelCause(t.Context())
		out := c.run(ctx, createOp("k", ""))
		synctest.Wait()
		cancel(cause)
		if out := <-out; !errors.Is(out.err, cause) || out.uncertain || errors.Is(out.err, metafora.ErrUncertain) {
			t.Errorf("outcome %+v", out)
		}
		free()
		synctest.Wait()
		if c.Get("k") != nil {
			t.Error("an operation that was withdrawn took effect")
		}
		if out := c.do(ctx, createOp("k", "")); !errors.Is(out.err, cause) || out.uncertain {
			t.Errorf("with a context that has ended: %+v", out)
		}
	})
}

func TestContextEndsWhileUnderWay(t *testing.T) {
	for name, withLate := range map[string]bool{"late outcome wanted": true, "nobody cares": false} {
		t.Run(name, func(t *testing.T) {
			inCommitter(t, func(t *testing.T, c *committing) {
				late := make(chan outcome, 1)
				o := createOp("k", "")
				if withLate {
					o.late = func(out outcome) { late <- out }
				}
				c.hold(true)
				ctx, cancel := context.WithCancel(t.Context())
				out := c.run(ctx, o)
				synctest.Wait()
				cancel()
				if out := <-out; !out.uncertain || !errors.Is(out.err, metafora.ErrUncertain) || !errors.Is(out.err, context.Canceled) {
					t.Errorf("outcome %+v", out)
				}
				c.fates <- simetcd.ErrUnavailable
				c.hold(false)
				time.Sleep(time.Minute)
				attempts := len(c.transactions())
				if !withLate {
					if attempts != 1 {
						t.Errorf("%d attempts", attempts)
					}
					return
				}
				if out := <-late; out.err != nil || !out.held || !out.uncertain || attempts != 2 {
					t.Errorf("after %d attempts: %+v", attempts, out)
				}
			})
		})
	}
}

func TestPointlessOperationIsNotSent(t *testing.T) {
	inCommitter(t, func(t *testing.T, c *committing) {
		free := c.busy()
		o := createOp("k", "")
		o.valid = func() error { return metafora.ErrLeaseLost }
		out, other := c.run(t.Context(), o), c.run(t.Context(), createOp("other", ""))
		synctest.Wait()
		free()
		if out := <-out; !errors.Is(out.err, metafora.ErrLeaseLost) || out.uncertain {
			t.Errorf("outcome %+v", out)
		}
		all(t, []<-chan outcome{other})
		if c.Get("k") != nil {
			t.Error("it was sent")
		}
	})
}

func TestCloseOfCommitterSettlesEverything(t *testing.T) {
	inCommitter(t, func(t *testing.T, c *committing) {
		c.hold(true)
		under := c.run(t.Context(), createOp("under way", ""))
		synctest.Wait()
		queued := c.run(t.Context(), createOp("queued", ""))
		synctest.Wait()
		c.committer.close()
		for _, out := range []<-chan outcome{under, queued} {
			if out := <-out; !errors.Is(out.err, metafora.ErrClosed) {
				t.Errorf("outcome %+v", out)
			}
		}
		if out := c.do(t.Context(), createOp("later", "")); !errors.Is(out.err, metafora.ErrClosed) || out.uncertain {
			t.Errorf("after close: %+v", out)
		}
		c.start(createOp("start", ""))
		c.committer.close()
	})
}
