package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/manifest"
	"github.com/jovalle/usher/controllers/routetable"
	"github.com/jovalle/usher/proxy/routing"
)

// filling is the routing table as a feed sees it.
type filling struct {
	table *routing.Live
	log   logr.Logger

	first chan struct{} // closed when the table was filled first
	once  sync.Once
}

func newFilling(table *routing.Live, log logr.Logger) *filling {
	return &filling{table: table, log: log, first: make(chan struct{})}
}

// filled is closed when the table was filled first.
func (f *filling) filled() <-chan struct{} { return f.first }

// ready returns an error until the table was filled first.
func (f *filling) ready() error {
	select {
	case <-f.first:
		return nil
	default:
		return errors.New("the routing table has not been filled yet")
	}
}

// fill builds the table from objects and swaps it in.
func (f *filling) fill(hosts []v1alpha1.ExposedHost, clusters []v1alpha1.MemberCluster) {
	table, problems := routetable.Build(hosts, clusters)
	for _, problem := range problems {
		f.log.Error(problem, "Left a host out of the routing table")
	}
	f.table.Store(table)
	f.noteFilled()
}

// noteFilled tells those who wait for the table that it was filled.
func (f *filling) noteFilled() { f.once.Do(func() { close(f.first) }) }

// files is the feed from a directory of manifests.
type files struct {
	*filling
	watcher *manifest.Watcher
}

// newFiles returns the feed, which shows in the metrics how many files are refused.
func newFiles(filling *filling, dir, stateDir string) (*files, error) {
	watcher, err := manifest.NewWatcher(dir, stateDir, filling.log.WithName("manifests"))
	if err != nil {
		return nil, fmt.Errorf("--state-dir: %w", err)
	}
	if err := metrics.Registry.Register(watcher); err != nil {
		return nil, fmt.Errorf("register the manifests' metrics: %w", err)
	}
	return &files{filling: filling, watcher: watcher}, nil
}

// ready returns an error until the table was filled first, and while a file keeps it
// from being all that the files ask for.
func (f *files) ready() error {
	if err := f.filling.ready(); err != nil {
		return err
	}
	return f.watcher.Ready()
}

// run follows the directory until ctx ends.
func (f *files) run(ctx context.Context) error { return f.watcher.Run(ctx, f.fill) }
