package koalemos

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"strings"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// DefaultEndpoint is where etcd listens unless told otherwise.
const DefaultEndpoint = "http://127.0.0.1:2379"

// DefaultNamespace is the namespace of those who name none.
const DefaultNamespace = "/koalemos"

// passwordVariable is the environment variable that a password is taken from.
const passwordVariable = "KOALEMOS_PASSWORD"

// Connection says where etcd is, and who we are there.
type Connection struct {
	Endpoints []string
	Namespace string

	certFile, keyFile, caFile string
	user                      string
}

// AddFlags makes c what the flags of fs say once they are parsed.
func (c *Connection) AddFlags(fs *flag.FlagSet) {
	c.Endpoints = []string{DefaultEndpoint}
	fs.Func("etcd", "`URLs` of etcd, separated by commas (default "+DefaultEndpoint+")", func(s string) (err error) {
		c.Endpoints, err = parseEndpoints(s)
		return err
	})
	fs.StringVar(&c.Namespace, "namespace", DefaultNamespace, "`prefix` of all keys; clusters of different namespaces do not meet")
	fs.StringVar(&c.certFile, "cert", "", "`file` with the certificate that we show to etcd, needs -key")
	fs.StringVar(&c.keyFile, "key", "", "`file` with the key of -cert")
	fs.StringVar(&c.caFile, "cacert", "", "`file` with the authorities that etcd's certificate is checked against")
	fs.StringVar(&c.user, "user", "", "`name` of our etcd user; the password is taken from $"+passwordVariable)
}

func parseEndpoints(s string) ([]string, error) {
	endpoints := strings.Split(s, ",")
	for i, endpoint := range endpoints {
		if !strings.Contains(endpoint, "://") {
			endpoint = "http://" + endpoint
		}
		u, err := url.Parse(endpoint)
		if err != nil {
			return nil, err
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Port() == "" {
			return nil, fmt.Errorf("%q is not like %s", endpoints[i], DefaultEndpoint)
		}
		endpoints[i] = endpoint
	}
	return endpoints, nil
}

// Config returns the configuration of a client. What the client itself would
// log is in the errors that it returns.
func (c *Connection) Config() (clientv3.Config, error) {
	tlsConfig, err := c.tls()
	if err != nil {
		return clientv3.Config{}, err
	}
	cc := clientv3.Config{Endpoints: c.Endpoints, TLS: tlsConfig, Logger: zap.NewNop()}
	if c.user != "" {
		cc.Username = c.user
		cc.Password = os.Getenv(passwordVariable)
		if cc.Password == "" {
			return clientv3.Config{}, fmt.Errorf("user %q has no password: set %s", c.user, passwordVariable)
		}
	}
	return cc, nil
}

// tls returns nil where no file is given: then the schemes of the endpoints say
// whether TLS is used, with the authorities of the system.
func (c *Connection) tls() (*tls.Config, error) {
	if (c.certFile == "") != (c.keyFile == "") {
		return nil, errors.New("-cert and -key need each other")
	}
	if c.certFile == "" && c.caFile == "" {
		return nil, nil
	}
	info := transport.TLSInfo{CertFile: c.certFile, KeyFile: c.keyFile, TrustedCAFile: c.caFile}
	tc, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("TLS files %q: %w", []string{c.certFile, c.keyFile, c.caFile}, err)
	}
	return tc, nil
}
