package takeover

import (
	"context"
	"time"

	"github.com/go-logr/logr"
)

// AnnounceBriefly is Announce, of a process that is to be told to stop within a
// moment after a take-over.
func AnnounceBriefly(ctx context.Context, service, version string, log logr.Logger) (*Process, error) {
	return announce(ctx, service, version, log, time.Millisecond)
}
