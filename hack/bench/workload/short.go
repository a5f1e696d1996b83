package workload

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// hello makes short connections without cryptography.
func hello(ctx context.Context, t Target, s Size) (Sample, error) {
	return short(ctx, t, s.Connections, s.Concurrency, helloExchange)
}

// connect makes short TLS 1.3 connections.
func connect(ctx context.Context, t Target, s Size) (Sample, error) {
	return short(ctx, t, s.TLSConnections, s.Concurrency, tlsExchange)
}

// helloExchange sends a canned ClientHello and gets a few bytes back. The
// backend closes.
func helloExchange(conn *net.TCPConn, host string) error {
	if _, err := conn.Write(order{mode: reply}.hello(host)); err != nil {
		return err
	}
	var answer [2 * replyBytes]byte
	n, err := io.ReadFull(conn, answer[:])
	if errors.Is(err, io.ErrUnexpectedEOF) && n == replyBytes {
		return nil
	}
	return fmt.Errorf("got %d bytes of %d: %w", n, replyBytes, err)
}

// tlsExchange is a handshake and one small request. The client closes.
func tlsExchange(conn *net.TCPConn, host string) error {
	client := tls.Client(conn, &tls.Config{ServerName: host, InsecureSkipVerify: true})
	request := []byte("ping")
	if _, err := client.Write(request); err != nil {
		return err
	}
	_, err := io.ReadFull(client, request)
	return err
}

// short makes count connections, so many at once.
func short(ctx context.Context, t Target, count, concurrency int, exchange func(*net.TCPConn, string) error) (Sample, error) {
	took := make([]time.Duration, count)
	meter, err := start(t.Parties)
	if err != nil {
		return nil, err
	}
	err = each(ctx, count, concurrency, func(ctx context.Context, i int) error {
		began := time.Now()
		defer func() { took[i] = time.Since(began) }()
		return one(ctx, t.Address, t.host(i), i, exchange)
	})
	if err != nil {
		return nil, err
	}
	sample, err := meter.stop(float64(count))
	if err != nil {
		return nil, err
	}
	sample.addQuantiles(took)
	return sample, nil
}

func one(ctx context.Context, address, host string, number int, exchange func(*net.TCPConn, string) error) error {
	conn, err := dial(ctx, address, number)
	if err != nil {
		return err
	}
	defer conn.Close()
	return exchange(conn, host)
}

// each calls do with the numbers below count, for so many at once, until one
// fails.
func each(ctx context.Context, count, concurrency int, do func(ctx context.Context, i int) error) error {
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range concurrency {
		group.Go(func() error {
			for i := int(next.Add(1)) - 1; i < count && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := do(ctx, i); err != nil {
					return fmt.Errorf("connection %d: %w", i, err)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// addQuantiles adds P50 and P99, and sorts the durations.
func (s Sample) addQuantiles(took []time.Duration) {
	slices.Sort(took)
	s[P50] = took[len(took)/2].Seconds()
	s[P99] = took[len(took)*99/100].Seconds()
}
