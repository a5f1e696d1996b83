package main

import (
	"context"
	"errors"
	"sync"

	"github.com/go-logr/logr"

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
	dir string
}

// run follows the directory until ctx ends.
func (f *files) run(ctx context.Context) error {
	return manifest.WatchDir(ctx, f.dir, f.log.WithName("manifests"), f.fill)
}
