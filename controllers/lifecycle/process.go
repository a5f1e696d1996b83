package lifecycle

import (
	"context"
	"errors"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// A Feed updates the routing table.
type Feed interface {
	// Run runs until ctx ends, and then returns nil. It is called once.
	Run(ctx context.Context) error
	// Ready returns an error that says what the feed still waits for, or nil.
	Ready() error
	// Filled is closed once the table has been filled for the first time.
	Filled() <-chan struct{}
}

// A Proxy forwards connections by the routing table. It is *proxy.Server, which this
// package does not import.
type Proxy interface {
	// Listen listens on the proxy's addresses.
	Listen() error
	// Serve serves until ctx ends, and then drains. It is called once, after Listen.
	Serve(ctx context.Context) error
	// Reached returns an error if clients do not reach the proxy although it listens.
	Reached() error
}

// Process is a feed and its proxy. The fields must be set before Run and not changed
// afterwards.
type Process struct {
	// Feed updates the routing table. Required.
	Feed Feed
	// Proxy uses that table. Nil: this process runs only the controllers.
	Proxy Proxy
	// Started is called when the proxy listens; if there is no proxy, at once. Required.
	Started func()
	// Stopping is called when ctx ends or the feed or the proxy has failed, while the
	// proxy drains. Required.
	Stopping func()

	listens atomic.Bool // Proxy listens
}

// Run runs the feed and the proxy until ctx ends or one of them fails. It returns the
// first error when the feed has ended and the proxy has drained. It must be called only
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

// serve runs the proxy. It listens only when the table is filled: before that it would
// refuse clients that another process, which shares the addresses, still serves.
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

// Ready returns an error that says what the process still waits for, or why clients do
// not reach it, or nil. It may be called at any time, from any goroutine.
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
