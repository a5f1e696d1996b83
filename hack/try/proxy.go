package main

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"

	"github.com/jovalle/usher/controllers/manifest"
	"github.com/jovalle/usher/controllers/routetable"
	"github.com/jovalle/usher/proxy"
	"github.com/jovalle/usher/proxy/routing"
)

// A runningProxy is usher's proxy on free ports of loopback.
type runningProxy struct {
	https, http netip.AddrPort
	stop        func() // ends it, and waits for that
}

// startProxy starts the proxy, and a watcher that fills its routing table from a directory of
// manifests. It returns when both serve.
func startProxy(ctx context.Context, manifests string) (*runningProxy, error) {
	log := logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	watcher, err := manifest.NewWatcher(manifests, "", log)
	if err != nil {
		return nil, err
	}
	table := &routing.Live{}
	server := &proxy.Server{HTTPSListen: []string{"127.0.0.1:0"}, HTTPListen: []string{"127.0.0.1:0"}, Table: table, Log: log}
	if err := server.Listen(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	filled := make(chan struct{}, 1)
	group.Go(func() error { return server.Serve(ctx) })
	group.Go(func() error {
		return watcher.Run(ctx, func(all routetable.Objects) {
			all.Before = table.Load()
			routes, problems := routetable.Build(all)
			for _, problem := range problems {
				log.Error(problem, "Left a host out of the routing table")
			}
			table.Store(routes)
			select {
			case filled <- struct{}{}:
			default:
			}
		})
	})
	stop := func() {
		cancel()
		_ = group.Wait() // what it returns is of interest before the proxy serves
	}
	select {
	case <-filled:
		return &runningProxy{https: server.HTTPSAddrs()[0], http: server.HTTPAddrs()[0], stop: stop}, nil
	case <-ctx.Done():
		cancel()
		return nil, errors.Join(group.Wait(), context.Cause(ctx))
	}
}
