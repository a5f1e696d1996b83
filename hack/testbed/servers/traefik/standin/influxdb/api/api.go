// Package api writes nothing to InfluxDB.
package api

import (
	"context"
	"errors"

	"github.com/influxdata/influxdb-client-go/v2/api/write"
)

// WriteAPIBlocking writes points.
type WriteAPIBlocking interface {
	WritePoint(ctx context.Context, points ...*write.Point) error
}

// None fails to write.
type None struct{}

func (None) WritePoint(context.Context, ...*write.Point) error { return errors.ErrUnsupported }
