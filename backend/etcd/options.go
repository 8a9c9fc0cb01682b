package etcd

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
)

// Conn is what this package needs of etcd. A *clientv3.Client is one. The
// caller keeps it and closes it after the Coordinators and Clients that use it.
type Conn interface {
	clientv3.KV
	clientv3.Lease
	clientv3.Watcher
}

// Options configure a Coordinator and a Client. The zero value of each field
// means its default.
type Options struct {
	// Namespace is the prefix of all keys; default "/metafora". Clusters of
	// different namespaces do not see each other.
	Namespace string
	// TaskFunc makes tasks of stored properties; default metafora.PlainTask.
	TaskFunc metafora.TaskFunc
	// TTL is the time to live of the node's lease, in whole seconds, at least
	// 1 s; default 10 s. It is how long the tasks of a dead node wait. etcd
	// raises it to its own minimum, 1.5 times its election timeout (2 s with
	// etcd's defaults); the granted TTL counts.
	TTL time.Duration
	// Margin is how long before the lease can expire at the broker the
	// contexts of handlers end, when it could not be renewed; default a fifth
	// of TTL. It is the time that handlers have to leave, and what the clocks
	// of node and broker may drift apart within a TTL.
	Margin time.Duration
	// NameWait is how long Init waits for a live node of the same name to go,
	// such as the lease of this node's predecessor that crashed; default 0,
	// refuse at once.
	NameWait time.Duration
	// RequestTimeout bounds each single request to etcd; default 5 s.
	RequestTimeout time.Duration
	// RelistInterval is how often, jittered by a quarter, everything is listed
	// again and compared with what the watches told; default 15 min. etcd has
	// dropped watch events in the past (issues 18089 and 19179 there).
	RelistInterval time.Duration
	// Weight is the node's share of the work relative to others; default 1.
	Weight float64
	// Labels are for balancers that match tasks with nodes.
	Labels map[string]string
	// Logger receives logs; default none.
	Logger hclog.Logger
	// Rand returns random numbers in [0, 1), of 53 bits, and must be safe for
	// concurrent use; default math/rand/v2.Float64. It spreads retries and
	// re-lists, and tells a Client's writes from those of other Clients.
	Rand func() float64
}

const maxTTL = 24 * time.Hour

// withDefaults checks o and fills it in. Errors name the offending value.
func (o Options) withDefaults() (Options, error) {
	if o.Namespace == "" {
		o.Namespace = "/metafora"
	}
	if o.TaskFunc == nil {
		o.TaskFunc = metafora.PlainTask
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	setDefault(&o.TTL, 10*time.Second)
	setDefault(&o.Margin, o.TTL/5)
	setDefault(&o.RequestTimeout, 5*time.Second)
	setDefault(&o.RelistInterval, 15*time.Minute)
	setDefault(&o.Weight, 1)
	switch {
	case o.TTL < time.Second || o.TTL > maxTTL || o.TTL%time.Second != 0:
		return o, fmt.Errorf("etcd: TTL %v: want whole seconds between 1s and %v", o.TTL, maxTTL)
	case o.Margin < 0 || o.Margin > o.TTL/2:
		return o, fmt.Errorf("etcd: margin %v: want at most half of the TTL %v", o.Margin, o.TTL)
	case o.NameWait < 0:
		return o, fmt.Errorf("etcd: name wait %v is negative", o.NameWait)
	case o.RequestTimeout < 0:
		return o, fmt.Errorf("etcd: request timeout %v is negative", o.RequestTimeout)
	case o.RelistInterval < 0:
		return o, fmt.Errorf("etcd: re-list interval %v is negative", o.RelistInterval)
	case !(o.Weight > 0) || math.IsInf(o.Weight, 0):
		return o, fmt.Errorf("etcd: weight %v: want a positive number", o.Weight)
	}
	return o, nil
}

// resolve checks and fills in everything that a Coordinator or Client is made of.
func (o Options) resolve(conn Conn) (Options, keyspace, error) {
	if conn == nil {
		return o, keyspace{}, errors.New("etcd: nil connection")
	}
	o, err := o.withDefaults()
	if err != nil {
		return o, keyspace{}, err
	}
	keys, err := newKeyspace(o.Namespace)
	if err != nil {
		return o, keyspace{}, fmt.Errorf("etcd: %w", err)
	}
	return o, keys, nil
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// jitter returns a random duration around d, a quarter off at most.
func (o Options) jitter(d time.Duration) time.Duration {
	return d - d/4 + time.Duration(o.Rand()*float64(d/2))
}
