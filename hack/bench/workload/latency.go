package workload

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// latency makes round trips of a small message, one at a time, on one
// connection. It reads blocking, in a thread of its own, to keep Go's scheduler
// out of the time.
func latency(ctx context.Context, t Target, s Size) (Sample, error) {
	conn, err := dial(ctx, t.Address, 0)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := conn.Write(order{mode: echo}.hello(t.Hosts[0])); err != nil {
		return nil, err
	}
	if err := discardBytes(conn, 1); err != nil {
		return nil, err
	}
	file, err := conn.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	fd := int(file.Fd()) // makes the descriptor blocking
	timeout := unix.Timeval{Sec: 5}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return nil, err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, err := roundTrips(ctx, fd, s.RoundTrips/10); err != nil { // warm up
		return nil, err
	}
	meter, err := start(t.Parties)
	if err != nil {
		return nil, err
	}
	took, err := roundTrips(ctx, fd, s.RoundTrips)
	if err != nil {
		return nil, err
	}
	sample, err := meter.stop(float64(s.RoundTrips))
	if err != nil {
		return nil, err
	}
	sample.addQuantiles(took)
	return sample, nil
}

// messageBytes is about what a keystroke or a small API call takes in TLS.
const messageBytes = 64

func roundTrips(ctx context.Context, fd, count int) ([]time.Duration, error) {
	took := make([]time.Duration, count)
	message := make([]byte, messageBytes)
	for i := range took {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		began := time.Now()
		if err := roundTrip(fd, message); err != nil {
			return nil, fmt.Errorf("round trip %d: %w", i, err)
		}
		took[i] = time.Since(began)
	}
	return took, nil
}

func roundTrip(fd int, message []byte) error {
	if _, err := unix.Write(fd, message); err != nil {
		return err
	}
	for got := 0; got < len(message); {
		n, err := unix.Read(fd, message[got:])
		switch {
		case errors.Is(err, unix.EINTR): // Go's runtime signals its threads
		case err != nil:
			return err
		case n == 0:
			return errors.New("the other end closed")
		default:
			got += n
		}
	}
	return nil
}
