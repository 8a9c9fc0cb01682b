//go:build unix

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/metafora-go/metafora/backend/etcd/embedded"
)

// startDev runs the etcd of -dev.
func startDev(ctx context.Context, s *settings, log hclog.Logger) (*embedded.Server, error) {
	host, port, err := s.devAddress()
	if err != nil {
		return nil, err
	}
	srv, err := embedded.Start(ctx, embedded.Config{
		Dir:       s.dataDir,
		Host:      host,
		Port:      port,
		Logger:    log.Named("etcd-server"),
		RetainFor: time.Hour,
	})
	if err != nil {
		return nil, fmt.Errorf("%w (-etcd http://%s:0 takes a free port)", err, host)
	}
	return srv, nil
}
