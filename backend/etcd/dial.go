package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Dial connects to etcd and returns once it has answered. cfg has the endpoints,
// TLS and credentials; what it leaves out is set to what a node needs: links
// that went dead are noticed within seconds, and etcd's client logs nothing. The
// error names the endpoints when none of them answers before ctx ends or
// cfg.DialTimeout, 5 s by default, has passed. The caller closes the client.
func Dial(ctx context.Context, cfg clientv3.Config) (*clientv3.Client, error) {
	if len(cfg.Endpoints) == 0 {
		return nil, errors.New("etcd: no endpoints")
	}
	setDefault(&cfg.DialTimeout, 5*time.Second)
	setDefault(&cfg.DialKeepAliveTime, 10*time.Second)
	setDefault(&cfg.DialKeepAliveTimeout, 5*time.Second)
	if cfg.Logger == nil && cfg.LogConfig == nil {
		cfg.Logger = zap.NewNop()
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.DialTimeout)
	defer cancel()
	cli, err := connect(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("etcd: no answer from %s: %w", strings.Join(cfg.Endpoints, ", "), err)
	}
	return cli, nil
}

func connect(ctx context.Context, cfg clientv3.Config) (*clientv3.Client, error) {
	cli, err := clientv3.New(cfg)
	if err != nil {
		return nil, err
	}
	var reason error // the last that etcd could not be reached for
	for {
		err := ping(ctx, cli)
		if err == nil {
			return cli, nil
		}
		if status.Code(err) == codes.Unavailable {
			reason = err
		}
		if ctx.Err() != nil && reason != nil {
			err = reason
		}
		if status.Code(err) != codes.Unavailable || sleep(ctx, pingInterval) != nil {
			_ = cli.Close()
			return nil, err
		}
	}
}

// pingInterval is the time between attempts to reach an etcd that cannot be
// reached.
const pingInterval = 100 * time.Millisecond

// ping asks etcd for something. The client itself would try again and again, and
// keep to itself why it has to: a refused connection, a name without an address,
// a certificate that is not trusted.
func ping(ctx context.Context, cli *clientv3.Client) error {
	key := &etcdserverpb.RangeRequest{Key: []byte("/"), CountOnly: true}
	_, err := etcdserverpb.NewKVClient(cli.ActiveConnection()).Range(ctx, key)
	// A role that is limited to a prefix may not read this key, but being
	// refused is an answer.
	if err == nil || status.Code(err) == codes.PermissionDenied {
		return nil
	}
	return err
}
