package workload

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// bulk moves large streams, all at once, down from the backend or up to it.
func bulk(ctx context.Context, t Target, s Size, mode byte) (Sample, error) {
	meter, err := start(t.Parties)
	if err != nil {
		return nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	for i := range s.Streams {
		group.Go(func() error { return stream(ctx, t, i, order{mode, s.StreamBytes}) })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	const gigabyte = 1e9
	return meter.stop(float64(s.Streams) * float64(s.StreamBytes) / gigabyte)
}

func stream(ctx context.Context, t Target, number int, o order) error {
	conn, err := dial(ctx, t.Address, number)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write(o.hello(t.host(number))); err != nil {
		return err
	}
	if o.mode == down {
		return discardBytes(conn, o.count)
	}
	if err := writeBytes(conn, o.count); err != nil {
		return err
	}
	return discardBytes(conn, 1) // the backend has it all
}
