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

// NewFileFeed returns a feed that runs watcher, which must have no other user.
func NewFileFeed(watcher *manifest.Watcher, table *routing.Live, log logr.Logger) *FileFeed {
	return &FileFeed{tableGate: newTableGate(table, log), watcher: watcher}
}

// Ready implements Feed. It returns an error until the table has been filled, and while
// a file is refused since the start and has no last good state.
func (f *FileFeed) Ready() error {
	if err := f.tableGate.Ready(); err != nil {
		return err
	}
	return f.watcher.Ready()
}

// Run implements Feed: it watches the directory. It returns an error if the directory
// cannot be read at the start.
func (f *FileFeed) Run(ctx context.Context) error { return f.watcher.Run(ctx, f.fill) }
