package takeover

import (
	"context"
	"time"

	"github.com/go-logr/logr"
)

// AnnounceBriefly is Announce with a grace period of a millisecond, after which a
// process logs that it was not told to stop.
func AnnounceBriefly(ctx context.Context, service, version string, log logr.Logger) (*Process, error) {
	return announce(ctx, service, version, log, time.Millisecond)
}
