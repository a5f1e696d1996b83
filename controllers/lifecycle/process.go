package lifecycle

import (
	"context"
	"errors"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// A Feed keeps the routing table in line with what is to be served.
type Feed interface {
	// Run goes on until ctx ends, which is no error. It is called once.
	Run(ctx context.Context) error
	// Ready returns what the feed still waits for, or nil.
	Ready() error
	// Filled is closed once the table has been filled for the first time.
	Filled() <-chan struct{}
}

// A Proxy serves clients by the routing table. It is *proxy.Server, which this
// package does not import.
type Proxy interface {
	// Listen binds the proxy's addresses.
	Listen() error
	// Serve serves until ctx ends, and then drains. It is called once, after Listen.
	Serve(ctx context.Context) error
	// Reached returns why clients do not reach the proxy though it listens, or nil.
	Reached() error
}

// Process is a feed and the proxy that it is for. Its fields are set before Run
// and not changed after.
type Process struct {
	// Feed keeps the routing table. Required.
	Feed Feed
	// Proxy serves by that table. Nil: this process runs the controllers alone.
	Proxy Proxy
	// Started is called once the proxy listens; where there is none, at once. Required.
	Started func()
	// Stopping is called when ctx ends or a part has failed, while the proxy
	// drains. Required.
	Stopping func()

	listens atomic.Bool // the proxy does
}

// Run runs the feed and the proxy until ctx ends or one of them fails. It returns
// the first error, once the feed has ended and the proxy has drained. It is called
// once.
func (p *Process) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return p.Feed.Run(ctx) })
	group.Go(func() error { return p.serve(ctx) })
	group.Go(func() error {
		<-ctx.Done()
		p.Stopping()
		return nil
	})
	return group.Wait()
}

// serve runs the proxy. It listens once the table is filled: before that it would
// refuse clients whom another process that shares the addresses still serves.
func (p *Process) serve(ctx context.Context) error {
	if p.Proxy == nil {
		p.Started()
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-p.Feed.Filled():
	}
	if err := p.Proxy.Listen(); err != nil {
		return err
	}
	p.listens.Store(true)
	p.Started()
	return p.Proxy.Serve(ctx)
}

// Ready returns what the process still waits for before it serves, or why clients
// do not reach it, or nil. Any goroutine may ask, at any time.
func (p *Process) Ready() error {
	if err := p.Feed.Ready(); err != nil {
		return err
	}
	switch {
	case p.Proxy == nil:
		return nil
	case !p.listens.Load():
		return errors.New("the proxy does not listen yet")
	}
	return p.Proxy.Reached()
}
