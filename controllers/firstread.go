package controllers

import (
	"context"
	"errors"
	"sync"
)

// firstRead is the start of a source of requests whose kind may not exist: a controller
// waits until the objects have been read, or cannot be read.
type firstRead struct {
	once  sync.Once
	known chan struct{}
}

func newFirstRead() firstRead { return firstRead{known: make(chan struct{})} }

// done records that the objects have been read, or cannot be read.
func (f *firstRead) done() { f.once.Do(func() { close(f.known) }) }

// wait waits for done. Its error names the objects.
func (f *firstRead) wait(ctx context.Context, objects string) error {
	select {
	case <-f.known:
		return nil
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return nil
		}
		return errors.New("timed out waiting for " + objects)
	}
}
