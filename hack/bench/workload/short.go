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

// stride takes the hosts of a table out of order; it is prime.
const stride = 7919

// short makes count connections, so many at once.
func short(ctx context.Context, t Target, count, concurrency int, exchange func(*net.TCPConn, string) error) (Sample, error) {
	took := make([]time.Duration, count)
	meter, err := start(t.Parties)
	if err != nil {
		return nil, err
	}
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range concurrency {
		group.Go(func() error {
			for i := int(next.Add(1)) - 1; i < count && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				began := time.Now()
				if err := one(ctx, t.Address, t.Hosts[i*stride%len(t.Hosts)], i, exchange); err != nil {
					return fmt.Errorf("connection %d: %w", i, err)
				}
				took[i] = time.Since(began)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
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

// addQuantiles adds P50 and P99, and sorts the durations.
func (s Sample) addQuantiles(took []time.Duration) {
	slices.Sort(took)
	s[P50] = took[len(took)/2].Seconds()
	s[P99] = took[len(took)*99/100].Seconds()
}
