package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ClusterConfig says how the members of a cluster run.
type ClusterConfig struct {
	// Members is their number, 3 if 0.
	Members int
	// Member holds the settings that all of them share. Its Dir and Port must
	// be zero: a cluster lives in a temporary directory, on chosen ports. The
	// members are called by its Name with -1, -2, ... appended.
	Member Config
}

// Cluster is an etcd cluster on one machine, for seeing what the loss of a
// member does. All methods are safe for concurrent use.
type Cluster struct {
	members []*Member
	release func() error
	clients clients

	closeOnce sync.Once
	closeErr  error
}

// StartCluster runs a cluster and returns when all its members answer requests.
// When ctx ends before that, they are stopped and the error wraps the cause.
func StartCluster(ctx context.Context, c ClusterConfig) (*Cluster, error) {
	if c.Members == 0 {
		c.Members = 3
	}
	c.Member = c.Member.withDefaults()
	if err := errors.Join(c.validate(), c.Member.validate()); err != nil {
		return nil, err
	}
	dir, release, err := openDir("")
	if err != nil {
		return nil, err
	}
	cl := &Cluster{release: release}
	if err := cl.start(ctx, c, dir); err != nil {
		return nil, errors.Join(err, cl.Close())
	}
	return cl, nil
}

func (c ClusterConfig) validate() error {
	switch {
	case c.Members < 0:
		return fmt.Errorf("embedded etcd: a cluster of %d members", c.Members)
	case c.Member.Dir != "":
		return fmt.Errorf("embedded etcd: a cluster cannot use the data directory %q", c.Member.Dir)
	case c.Member.TLS != (TLS{}):
		return fmt.Errorf("embedded etcd: a cluster cannot use TLS: %+v", c.Member.TLS)
	case c.Member.Port != 0:
		return fmt.Errorf("embedded etcd: %d members cannot share port %d", c.Members, c.Member.Port)
	}
	return nil
}

func (cl *Cluster) start(ctx context.Context, c ClusterConfig, dir string) error {
	all := make(peers, c.Members)
	for i := range all {
		mc := c.Member
		mc.Name = fmt.Sprintf("%s-%d", mc.Name, i+1)
		m, err := newMember(mc, filepath.Join(dir, mc.Name))
		if err != nil {
			return err
		}
		cl.members = append(cl.members, &Member{member: m})
		if m.link, err = newLink(mc.Host); err != nil {
			return err
		}
		all[i].name, all[i].url = mc.Name, m.link.url().String()
	}

	// No member is ready before most of them run, so they start together.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errs := make(chan error, len(cl.members))
	for _, m := range cl.members {
		m.peers = all
		go func() { errs <- m.Start(ctx) }()
	}
	var first error
	for range cl.members {
		if err := <-errs; err != nil && first == nil {
			first = err
			cancel(err)
		}
	}
	return first
}

// Members returns the members in the order of their names.
func (cl *Cluster) Members() []*Member { return append([]*Member(nil), cl.members...) }

// Leader returns the member that leads the cluster as far as the members that
// run know, nil when there is none.
func (cl *Cluster) Leader() *Member {
	for _, m := range cl.members {
		if m.leads() {
			return m
		}
	}
	return nil
}

// Endpoints returns the URLs of all members, whether they run or not.
func (cl *Cluster) Endpoints() []string {
	urls := make([]string, len(cl.members))
	for i, m := range cl.members {
		urls[i] = m.Endpoint()
	}
	return urls
}

// Client returns a new client that knows all members and turns to those that
// run. The caller should close it; Close of the Cluster does otherwise.
func (cl *Cluster) Client() (*clientv3.Client, error) {
	return cl.clients.add("cluster", func() (*clientv3.Client, error) {
		return clientv3.New(clientv3.Config{
			Endpoints: cl.Endpoints(),
			Logger:    newZapLogger(cl.members[0].member.config.Logger, nil),
		})
	})
}

// Close stops all members and returns when their goroutines have ended and
// their directories are gone. Further calls wait for the first and return the
// same.
func (cl *Cluster) Close() error {
	cl.closeOnce.Do(func() {
		cl.clients.close()
		for _, m := range cl.members {
			m.Stop()
			m.member.free()
		}
		cl.closeErr = cl.release()
	})
	return cl.closeErr
}

// Member is one server of a Cluster. All methods are safe for concurrent use.
type Member struct {
	peers peers

	mu     sync.Mutex // guards whether member runs
	member *member
}

// Name returns the member's name.
func (m *Member) Name() string { return m.member.config.Name }

// Endpoint returns the member's URL, which stays the same when it is stopped and
// started again.
func (m *Member) Endpoint() string { return m.member.endpoint() }

// Stop stops the member as a crash of its process would: connections end at
// once, and a leader hands nothing over. It does nothing to a stopped one.
func (m *Member) Stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.member.stop()
}

// Start starts the member again after Stop, with the data it had, and returns
// when it answers requests: most of the cluster must run for that. It does
// nothing to a running one. It must not be called after Close of the Cluster.
func (m *Member) Start(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.member.etcd != nil {
		return nil
	}
	if err := os.MkdirAll(m.member.dir, 0o700); err != nil {
		return m.member.startError(err)
	}
	return m.member.start(ctx, m.peers)
}

func (m *Member) leads() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.member.etcd
	return e != nil && e.Server.Leader() == e.Server.MemberID()
}
