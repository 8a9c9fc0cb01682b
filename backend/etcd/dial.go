package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
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
	// A role that is limited to a prefix may not read this key, but being
	// refused is an answer.
	_, err = cli.Get(ctx, "/", clientv3.WithCountOnly())
	if err != nil && !errors.Is(err, rpctypes.ErrPermissionDenied) {
		_ = cli.Close()
		return nil, err
	}
	return cli, nil
}
