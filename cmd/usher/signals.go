//go:build linux

package main

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/go-logr/logr"
)

// handleSignals prevents signals from ending usher without a drain, until stop is
// called. SIGTERM and SIGINT cancel the context of main, which begins the drain;
// handleSignals handles other signals, and SIGTERM and SIGINT if they are repeated.
// After SIGUSR1 it calls replaced, if isTakenOver says that another process serves: tools
// that rotate logs send this signal to any process. A Go program ignores SIGUSR2. SIGQUIT
// ends it and prints the stacks of all goroutines, for debugging.
func handleSignals(log logr.Logger, isTakenOver func() bool, replaced func()) (stop func()) {
	signal.Ignore(syscall.SIGPIPE) // otherwise usher would end when the reader of its log ends
	received := make(chan os.Signal, 8)
	signal.Notify(received, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGTERM, os.Interrupt)
	var handling sync.WaitGroup
	handling.Go(func() {
		draining := false
		for s := range received {
			switch {
			case s == syscall.SIGHUP:
				log.Info("Ignored SIGHUP: usher watches its configuration")
			case s == syscall.SIGUSR1:
				if !draining && isTakenOver() {
					draining = true
					log.Info("Stopping: another process has replaced this one; open connections may continue until the timeout for that, SIGINT closes them at once")
					replaced()
				}
			case !draining:
				draining = true
				log.Info("Stopping: open connections may continue until the drain timeout; SIGINT closes them at once", "signal", s.String())
			case s == os.Interrupt:
				log.Info("Interrupted while draining: closing open connections")
				os.Exit(exitFailure)
			default:
				log.Info("Ignored another signal to stop: open connections may continue until the drain timeout", "signal", s.String())
			}
		}
	})
	return func() {
		signal.Stop(received)
		close(received)
		handling.Wait()
	}
}
