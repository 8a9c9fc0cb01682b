// Package embedded runs etcd servers inside this process: one for a single
// program or a test ([Start]), or a cluster of several on loopback for trying
// failover ([StartCluster]). It is the only package of the module that links the
// etcd server.
//
//	srv, err := embedded.Start(ctx, embedded.Config{})
//	if err != nil {
//		return err
//	}
//	defer srv.Close()
//	cli, err := srv.Client() // or dial srv.Endpoints() from another process
//
// Without [Config.TLS] the servers speak plain HTTP, and they know no users until
// a client enables authentication. Listen on loopback, or on a network that you
// trust as a whole.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
)

// ErrDirLocked says that another process, or another Server of this one, runs in
// the data directory.
var ErrDirLocked = errors.New("embedded etcd: data directory is in use")

// Config says how a server runs. The zero value is a server on a chosen loopback
// port with a temporary data directory. What is not listed here is as etcd has
// it, among it the limits on transactions (128 operations), requests (1.5 MiB)
// and the size of the database (2 GiB).
type Config struct {
	// Dir is the data directory; it is created if need be, and can be used
	// again after Close. Empty: a temporary one, removed by Close.
	Dir string
	// Name is the member's name, "metafora" if empty.
	Name string
	// Host is the IP address to listen on and to advertise, 127.0.0.1 if
	// empty. Whoever can reach it can read and write everything.
	Host string
	// Port is the port for clients. 0: a free one.
	Port int
	// TLS has the server speak TLS with its clients, and only with those that
	// show a certificate that it trusts. The zero value: plain HTTP. A Cluster
	// cannot have it.
	TLS TLS
	// Logger gets etcd's logs. etcd is talkative: its Info arrives as Debug,
	// its Debug as Trace, and all that it says of starting and stopping as
	// Debug at most. Nil: no logs.
	Logger hclog.Logger

	// NoFsync turns off fsync: several times faster, but a crash of the
	// machine loses or corrupts data. For tests and benchmarks.
	NoFsync bool
	// ElectionTimeout is how long a member waits for a leader; the heartbeat
	// is a tenth of it. etcd grants no lease shorter than one and a half
	// election timeouts, rounded up to seconds. At least 100 ms, 0: 1 s.
	ElectionTimeout time.Duration
	// SnapshotCount is the number of writes after which etcd takes a snapshot
	// of its log. 0: etcd's default.
	SnapshotCount uint64
	// RetainFor keeps the history of keys for so long, and RetainRevisions
	// that many revisions of it; at most one may be set. With neither history
	// is kept for ever, and the database grows with every write.
	RetainFor       time.Duration
	RetainRevisions int64
}

// TLS names files in PEM format. All of them are needed.
type TLS struct {
	// CertFile and KeyFile are the server's certificate and private key.
	CertFile, KeyFile string
	// ClientCAFile has the certificates of the authorities that sign those of
	// clients. The common name of a client's certificate is its etcd user,
	// unless it gives a name and password.
	ClientCAFile string
}

func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = "metafora"
	}
	if c.Host == "" {
		c.Host = "127.0.0.1"
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.ElectionTimeout == 0 {
		c.ElectionTimeout = time.Second
	}
	return c
}

func (c Config) validate() error {
	switch {
	case c.Port < 0 || c.Port > 65535:
		return fmt.Errorf("embedded etcd: port %d is not between 0 and 65535", c.Port)
	case c.ElectionTimeout < 100*time.Millisecond:
		return fmt.Errorf("embedded etcd: election timeout %v is shorter than 100ms", c.ElectionTimeout)
	case c.TLS != (TLS{}) && (c.TLS.CertFile == "" || c.TLS.KeyFile == "" || c.TLS.ClientCAFile == ""):
		return fmt.Errorf("embedded etcd: TLS needs all of its files: %+v", c.TLS)
	case c.RetainFor < 0:
		return fmt.Errorf("embedded etcd: negative RetainFor %v", c.RetainFor)
	case c.RetainRevisions < 0:
		return fmt.Errorf("embedded etcd: negative RetainRevisions %d", c.RetainRevisions)
	case c.RetainFor > 0 && c.RetainRevisions > 0:
		return fmt.Errorf("embedded etcd: both RetainFor %v and RetainRevisions %d are set", c.RetainFor, c.RetainRevisions)
	}
	return nil
}

// Server is a running etcd server of one member. All methods are safe for
// concurrent use.
type Server struct {
	member  *member
	dir     string
	release func() error
	clients clients

	closeOnce sync.Once
	closeErr  error
}

// Start runs a server and returns when it answers requests. When ctx ends
// before that, the server is stopped and the error wraps the cause; afterwards
// ctx has no meaning. Errors name the directory or the port that they are about.
//
// Where etcd finds that it cannot go on, at the start or later, it panics with
// the reason: a corrupt data directory, a full disk.
func Start(ctx context.Context, c Config) (*Server, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	dir, release, err := openDir(c.Dir)
	if err != nil {
		return nil, err
	}
	m, err := newMember(c, dir)
	if err != nil {
		return nil, errors.Join(err, release())
	}
	// With one member nobody connects to the peer port, so it has none. The
	// address is what the member is registered with, and never used.
	if err := m.start(ctx, peers{{name: c.Name, url: embed.DefaultInitialAdvertisePeerURLs}}); err != nil {
		m.free()
		return nil, errors.Join(err, release())
	}
	return &Server{member: m, dir: dir, release: release}, nil
}

// Client returns a new client that calls the server without a network. The
// caller should close it; Close of the Server does otherwise.
//
// Watches of one client share a stream unless their contexts carry different metadata.
// Within a process those of a stream can block each other for ever when dozens begin
// or end at once (etcd issue 20716). Package etcd gives each of its own a stream.
func (s *Server) Client() (*clientv3.Client, error) {
	return s.clients.add("server "+s.member.config.Name, func() (*clientv3.Client, error) {
		return v3client.New(s.member.etcd.Server), nil
	})
}

// Endpoints returns the URL at which clients of any process reach the server.
func (s *Server) Endpoints() []string { return []string{s.member.endpoint()} }

// Dir returns the data directory.
func (s *Server) Dir() string { return s.dir }

// Close stops the server, ending open connections at once, and returns when its
// goroutines have ended and its directory and port are free again. Further calls
// wait for the first and return the same.
func (s *Server) Close() error {
	s.closeOnce.Do(func() {
		s.clients.close()
		s.member.stop()
		s.member.free()
		s.closeErr = s.release()
	})
	return s.closeErr
}

// openDir makes a data directory ready and locks it. An empty name stands for a
// temporary one. release unlocks it, and removes a temporary one.
func openDir(name string) (dir string, release func() error, err error) {
	if name != "" {
		unlock, err := lockDir(name)
		return name, unlock, err
	}
	dir, err = os.MkdirTemp("", "metafora-etcd-")
	if err != nil {
		return "", nil, fmt.Errorf("embedded etcd: temporary data directory: %w", err)
	}
	return dir, func() error {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("embedded etcd: remove data directory: %w", err)
		}
		return nil
	}, nil
}
