package main

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/go-logr/logr"
)

// handleSignals keeps signals from ending usher without a drain, until stop is called.
// SIGTERM and SIGINT end the context of main, which begins the drain; here is what
// others do, and those two when they come again. SIGUSR1 and SIGUSR2 do nothing in a
// Go program; SIGQUIT ends it with all its stacks, for debugging.
func handleSignals(log logr.Logger) (stop func()) {
	signal.Ignore(syscall.SIGPIPE) // a reader of the log that ends would end usher
	received := make(chan os.Signal, 8)
	signal.Notify(received, syscall.SIGHUP, syscall.SIGTERM, os.Interrupt)
	var handling sync.WaitGroup
	handling.Go(func() {
		draining := false
		for s := range received {
			switch {
			case s == syscall.SIGHUP:
				log.Info("Ignored SIGHUP: usher follows its configuration by itself")
			case !draining:
				draining = true
				log.Info("Stopping: open connections may go on until the drain timeout; SIGINT ends them at once", "signal", s.String())
			case s == os.Interrupt:
				log.Info("Interrupted while draining: open connections end now")
				os.Exit(exitFailure)
			default:
				log.Info("Ignored another signal to stop: open connections may go on until the drain timeout", "signal", s.String())
			}
		}
	})
	return func() {
		signal.Stop(received)
		close(received)
		handling.Wait()
	}
}
