package lifecycle

import (
	"context"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/controllers/manifest"
	"github.com/jovalle/usher/proxy/routing"
)

// FileFeed fills the routing table from a directory of manifests.
type FileFeed struct {
	*tableGate
	watcher *manifest.Watcher
}

// NewFileFeed returns the feed of a directory that nobody else watches by watcher.
func NewFileFeed(watcher *manifest.Watcher, table *routing.Live, log logr.Logger) *FileFeed {
	return &FileFeed{tableGate: newTableGate(table, log), watcher: watcher}
}

// Ready implements Feed: it is an error until the table has been filled, and while
// a file without a known good state keeps it from being all that is asked for.
func (f *FileFeed) Ready() error {
	if err := f.tableGate.Ready(); err != nil {
		return err
	}
	return f.watcher.Ready()
}

// Run implements Feed: it follows the directory. One that cannot be read at the
// start is an error.
func (f *FileFeed) Run(ctx context.Context) error { return f.watcher.Run(ctx, f.fill) }
