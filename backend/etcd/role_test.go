package etcd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/etcd"
	"github.com/metafora-go/metafora/backend/etcd/embedded"
	"github.com/metafora-go/metafora/statemachine"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.cert, a.key = a.sign(template, "ca")
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// sign writes <name>.pem and <name>-key.pem.
func (a *authority) sign(template *x509.Certificate, name string) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, parentKey := a.cert, a.key
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".pem":     {Type: "CERTIFICATE", Bytes: der},
		name + "-key.pem": {Type: "EC PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(a.file(file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// client returns what a client of this common name connects with.
func (a *authority) client(name string) *tls.Config {
	a.t.Helper()
	a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, name)
	pair, err := tls.LoadX509KeyPair(a.file(name+".pem"), a.file(name+"-key.pem"))
	if err != nil {
		a.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}
}

// secureEtcd is an etcd with TLS and authentication, in which the user of a name
// has the one role that docs/etcd.md describes.
func secureEtcd(t *testing.T, ca *authority, user, password string) (endpoint string) {
	t.Helper()
	ca.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "etcd"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, "server")
	srv, err := embedded.Start(t.Context(), embedded.Config{
		NoFsync: true, ElectionTimeout: 300 * time.Millisecond,
		TLS: embedded.TLS{CertFile: ca.file("server.pem"), KeyFile: ca.file("server-key.pem"), ClientCAFile: ca.file("ca.pem")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	admin, err := srv.Client()
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	// What docs/etcd.md does with etcdctl.
	do := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(admin.UserAddWithOptions(ctx, "root", "", &clientv3.UserAddOptions{NoPassword: true}))
	do(admin.UserGrantRole(ctx, "root", "root"))
	do(admin.RoleAdd(ctx, "metafora"))
	do(admin.RoleGrantPermission(ctx, "metafora", "/prod/", clientv3.GetPrefixRangeEnd("/prod/"), clientv3.PermissionType(clientv3.PermReadWrite)))
	do(admin.UserAdd(ctx, user, password))
	do(admin.UserGrantRole(ctx, user, "metafora"))
	do(admin.AuthEnable(ctx))
	return srv.Endpoints()[0]
}

// A node and a client do all that they can with a role limited to the prefix of
// their namespace, over TLS, whether they give a password or their certificate
// says who they are. Whoever has neither is told what is wrong.
func TestTLSAndARoleLimitedToTheNamespaceSuffice(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	endpoint := secureEtcd(t, ca, "metafora", "pass")
	for name, cfg := range map[string]clientv3.Config{
		"password":    {TLS: ca.client("anyone"), Username: "metafora", Password: "pass"},
		"certificate": {TLS: ca.client("metafora")},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Endpoints, cfg.DialTimeout = []string{endpoint}, 30*time.Second // passwords are slow
			cli, err := etcd.Dial(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer cli.Close()
			doEverything(t, cli)
			ctx := t.Context()
			if _, err := cli.Put(ctx, "/production/x", ""); !errors.Is(err, rpctypes.ErrPermissionDenied) {
				t.Errorf("wrote outside of the prefix: %v", err)
			}
			other, err := etcd.NewCoordinator(cli, "node-1", etcd.Options{Namespace: "/staging"})
			if err != nil {
				t.Fatal(err)
			}
			defer other.Close()
			if err := other.Init(ctx, make(losses)); !errors.Is(err, rpctypes.ErrPermissionDenied) {
				t.Errorf("Init in a namespace without permission: %v", err)
			}
		})
	}
	testDialSaysWhyItWasRefused(t, ca, endpoint)
}

func doEverything(t *testing.T, cli *clientv3.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	o := etcd.Options{Namespace: "/prod", TTL: time.Minute, RelistInterval: time.Second}
	coord, err := etcd.NewCoordinator(cli, "node-1", o)
	must(err)
	store, listener := coord.StateStore(), coord.CommandListener()
	lost := make(losses, 10)
	must(coord.Init(ctx, lost))
	client, err := etcd.NewClient(cli, o)
	must(err)
	tasks, watched := make(chan metafora.Task), make(chan error, 1)
	wctx, stopWatch := context.WithCancel(ctx)
	go func() { watched <- coord.Watch(wctx, tasks) }()

	must(client.SubmitTask(ctx, metafora.NewTask("t1")))
	claim, err := coord.Claim(ctx, <-tasks)
	must(err)
	must(store.Store(ctx, claim, statemachine.State{Code: statemachine.Runnable}, 0))
	st, err := store.Load(ctx, claim)
	must(err)
	if st.Code != statemachine.Runnable {
		t.Errorf("state %v", st)
	}
	commands, unlisten := listener.Listen(claim)
	must(client.Send(ctx, "t1", statemachine.Pause()))
	must(listener.Handled(ctx, claim, (<-commands).ID))
	unlisten()
	must(client.SubmitCommand(ctx, "node-1", metafora.Freeze()))
	_, err = coord.Command(ctx)
	must(err)
	must(coord.SetAccepting(ctx, false))
	must(coord.Release(ctx, claim))
	claim, err = coord.Claim(ctx, <-tasks)
	must(err)
	must(coord.Done(ctx, claim))
	must(client.SubmitTasks(ctx, []metafora.Task{metafora.NewTask("t2"), metafora.NewTask("t3")}))
	must(client.DeleteTask(ctx, "t3"))
	_, err = client.State(ctx, "t1")
	must(err)
	_, err = client.Task(ctx, "t2")
	must(err)
	ns, err := client.Nodes(ctx)
	must(err)
	ts, err := client.Tasks(ctx)
	must(err)
	if len(ns) != 1 || len(ts) != 1 {
		t.Errorf("nodes %v, tasks %v", ns, ts)
	}
	// The node renews its lease, to see whether it is there, and registers again.
	_, err = cli.Delete(ctx, "/prod/nodes/node-1")
	must(err)
	for s := coord.Stats(); s.Renewals < 1 || s.Lists < 6; s = coord.Stats() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("no renewals, or no lists: %+v", s)
		}
	}
	must(client.DeleteTask(ctx, "t2"))
	stopWatch()
	must(<-watched)
	must(coord.Close())
	if ns, err = client.Nodes(ctx); err != nil || len(ns) > 0 {
		t.Errorf("nodes after Close: %v, %v", ns, err)
	}
	if len(lost) > 0 {
		t.Errorf("lost %v", <-lost)
	}
}

func testDialSaysWhyItWasRefused(t *testing.T, ca *authority, endpoint string) {
	strangers := newAuthority(t)
	for name, tc := range map[string]struct {
		cfg  clientv3.Config
		want string
	}{
		"wrong password":     {clientv3.Config{TLS: ca.client("anyone"), Username: "metafora", Password: "wrong"}, "authentication failed"},
		"unknown user":       {clientv3.Config{TLS: ca.client("anyone"), Username: "nobody", Password: "pass"}, "authentication failed"},
		"server not trusted": {clientv3.Config{TLS: strangers.client("metafora")}, "certificate"},
		"no TLS at all":      {clientv3.Config{}, strings.Replace(endpoint, "https", "http", 1)},
		// With TLS 1.3 the server may hang up before it has told why.
		"client without cert": {clientv3.Config{TLS: &tls.Config{RootCAs: ca.client("x").RootCAs}}, endpoint},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.cfg.Endpoints, tc.cfg.DialTimeout = []string{endpoint}, 3*time.Second
			if tc.cfg.Username != "" {
				tc.cfg.DialTimeout = 30 * time.Second // passwords are slow
			}
			if tc.cfg.TLS == nil {
				tc.cfg.Endpoints[0] = tc.want
			}
			cli, err := etcd.Dial(t.Context(), tc.cfg)
			if err == nil {
				cli.Close()
				t.Fatal("connected")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want one about %q", err, tc.want)
			}
		})
	}
}
