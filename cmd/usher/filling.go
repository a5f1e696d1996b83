package main

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/manifest"
	"github.com/jovalle/usher/controllers/routetable"
	"github.com/jovalle/usher/proxy/routing"
)

// filling is the routing table as a feed sees it.
type filling struct {
	table  *routing.Live
	log    logr.Logger
	filled atomic.Bool
}

// ready returns an error until the table was filled first.
func (f *filling) ready() error {
	if !f.filled.Load() {
		return errors.New("the routing table has not been filled yet")
	}
	return nil
}

// fill builds the table from objects and swaps it in.
func (f *filling) fill(hosts []v1alpha1.ExposedHost, clusters []v1alpha1.MemberCluster) {
	table, problems := routetable.Build(hosts, clusters)
	for _, problem := range problems {
		f.log.Error(problem, "Left a host out of the routing table")
	}
	f.table.Store(table)
	f.filled.Store(true)
}

// files is the feed from a directory of manifests.
type files struct {
	*filling
	dir string
}

// run follows the directory until ctx ends.
func (f *files) run(ctx context.Context) error {
	return manifest.WatchDir(ctx, f.dir, f.log.WithName("manifests"), f.fill)
}
