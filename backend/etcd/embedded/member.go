package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"
)

// peers are the members of a cluster in the making.
type peers []struct{ name, url string }

func (ps peers) String() string {
	pairs := make([]string, len(ps))
	for i, p := range ps {
		pairs[i] = p.name + "=" + p.url
	}
	return strings.Join(pairs, ",")
}

// member is one etcd member with its ports and directory. It can be started and
// stopped in turns; callers serialise.
type member struct {
	config Config
	dir    string
	client *port
	link   *link // nil in a cluster of one

	etcd    *embed.Etcd  // nil while stopped
	grpc    *grpc.Server // that of etcd
	serving atomic.Bool  // what etcd says before or after that is for debugging
}

// newMember takes the ports. free gives them back.
func newMember(c Config, dir string) (*member, error) {
	p, err := takePort(c.Host, c.Port)
	if err != nil {
		return nil, err
	}
	return &member{config: c, dir: dir, client: p}, nil
}

func (m *member) free() {
	m.client.release()
	if m.link != nil {
		m.link.close()
	}
}

func (m *member) endpoint() string { return m.clientURL().String() }

func (m *member) clientURL() *url.URL {
	u := m.client.url()
	if m.config.TLS != (TLS{}) {
		u.Scheme = "https"
	}
	return u
}

// start runs the member and returns when it serves clients.
func (m *member) start(ctx context.Context, all peers) error {
	if err := ctx.Err(); err != nil {
		return m.startError(context.Cause(ctx))
	}
	registered := make(chan *grpc.Server, 1)
	ec := m.etcdConfig(all)
	ec.ServiceRegister = func(s *grpc.Server) { registered <- s }

	e, err := embed.StartEtcd(ec)
	if err != nil {
		return m.startError(err)
	}
	if m.link != nil {
		m.link.connect(e.Peers[0].Addr())
	}
	select {
	case m.grpc = <-registered:
		m.etcd = e
		m.serving.Store(true)
		return nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-e.Server.StopNotify():
		err = errors.New("server stopped")
	case err = <-e.Err():
	}
	m.end(e)
	return m.startError(err)
}

func (m *member) startError(err error) error {
	return fmt.Errorf("embedded etcd: start %q on %s in %q: %w", m.config.Name, m.client.address(), m.dir, err)
}

// stop ends the member and returns when all its goroutines have ended.
func (m *member) stop() {
	if m.etcd == nil {
		return
	}
	m.serving.Store(false)
	m.grpc.Stop() // or open watches would hold Etcd.Close up for seconds
	m.end(m.etcd)
	m.etcd, m.grpc = nil, nil
}

func (m *member) end(e *embed.Etcd) {
	// Etcd.Close by itself waits for ever where the server is not ready yet,
	// and for seconds where a leader looks for a successor.
	e.Server.HardStop()
	if m.link != nil {
		m.link.cut()
	}
	e.Close()
}

func (m *member) etcdConfig(all peers) *embed.Config {
	c := m.config
	ec := embed.NewConfig()
	ec.Name = c.Name
	ec.Dir = m.dir
	ec.InitialCluster = all.String()
	// Members refuse those of another token. The ports of a cluster make it
	// unlike any other that runs on this machine.
	ec.InitialClusterToken = all.String()
	ec.ListenClientUrls = []url.URL{*m.clientURL()}
	ec.AdvertiseClientUrls = ec.ListenClientUrls
	if t := c.TLS; t != (TLS{}) {
		ec.ClientTLSInfo = transport.TLSInfo{CertFile: t.CertFile, KeyFile: t.KeyFile, TrustedCAFile: t.ClientCAFile, ClientCertAuth: true}
	}
	ec.ListenPeerUrls = nil
	if m.link != nil {
		ec.ListenPeerUrls = []url.URL{{Scheme: "http", Host: net.JoinHostPort(c.Host, "0")}}
		ec.AdvertisePeerUrls = []url.URL{*m.link.url()}
	}
	ec.SocketOpts.ReusePort = m.client.shared
	ec.EnableGRPCGateway = false
	ec.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newZapLogger(c.Logger, &m.serving))
	ec.UnsafeNoFsync = c.NoFsync
	ec.ElectionMs = uint(c.ElectionTimeout / time.Millisecond)
	ec.TickMs = ec.ElectionMs / 10
	if c.SnapshotCount > 0 {
		ec.SnapshotCount = c.SnapshotCount
	}
	switch {
	case c.RetainFor > 0:
		ec.AutoCompactionMode = embed.CompactorModePeriodic
		ec.AutoCompactionRetention = c.RetainFor.String()
	case c.RetainRevisions > 0:
		ec.AutoCompactionMode = embed.CompactorModeRevision
		ec.AutoCompactionRetention = strconv.FormatInt(c.RetainRevisions, 10)
	}
	return ec
}
