package main

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"sync"

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
	filled := make(chan struct{})
	open := sync.OnceFunc(func() { close(filled) })
	group.Go(func() error { return server.Serve(ctx) })
	group.Go(func() error {
		return watcher.Run(ctx, func(all routetable.Objects) {
			for _, problem := range routetable.Replace(table, all) {
				log.Error(problem, "Left a host out of the routing table")
			}
			open()
		})
	})
	stop := func() {
		cancel()
		_ = group.Wait() // the cause of ctx is the same error
	}
	select {
	case <-filled:
		return &runningProxy{https: server.HTTPSAddrs()[0], http: server.HTTPAddrs()[0], stop: stop}, nil
	case <-ctx.Done():
		stop()
		return nil, context.Cause(ctx)
	}
}
