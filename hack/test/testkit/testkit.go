// Package testkit has functions for the tests of many packages: they wait for a
// condition, read a log, count descriptors and build usher.
//
// It imports nothing of usher and nothing of Kubernetes, because the tests of the
// data plane use it.
package testkit

import (
	"testing"
	"time"
)

// Timeout bounds every wait of the tests. Only a failing test waits that long, so
// Timeout is far longer than any wait on an idle machine: several packages run at once,
// with the race detector, and the longest wait is for 64 MiB of a hostile member's
// objects.
const Timeout = 3 * time.Minute

const (
	minPause = time.Millisecond
	maxPause = 50 * time.Millisecond
)

// Eventually calls check until it returns nil. After Timeout it fails the test with
// the last error of check. What is a sentence that describes the condition.
func Eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	for began := time.Now(); ; {
		err := check()
		if err == nil {
			return
		}
		waited := time.Since(began)
		if waited >= Timeout {
			t.Fatalf("%s: %v (waited %v)", what, err, Timeout)
		}
		time.Sleep(pause(waited))
	}
}

// pause returns the time until the next check: a tenth of the wait so far. So a short
// wait ends soon, and a long one causes few requests.
func pause(waited time.Duration) time.Duration {
	return min(max(waited/10, minPause), maxPause)
}

// WaitFor calls condition until it returns true. After Timeout it fails the test.
// What is the noun that the test waits for. Use Eventually if a failure needs more
// details.
func WaitFor(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for began := time.Now(); !condition(); {
		waited := time.Since(began)
		if waited >= Timeout {
			t.Fatalf("waited %v for %s", Timeout, what)
		}
		time.Sleep(pause(waited))
	}
}

// Consistently calls check repeatedly for the duration d, and fails the test at its
// first error. It checks that something does not happen. A slow machine checks less
// often, but does not fail because of that.
func Consistently(t testing.TB, d time.Duration, what string, check func() error) {
	t.Helper()
	for began := time.Now(); ; {
		if err := check(); err != nil {
			t.Fatalf("%s: %v (after %v)", what, err, time.Since(began))
		}
		waited := time.Since(began)
		if waited >= d {
			return
		}
		time.Sleep(min(maxPause, d-waited))
	}
}

// Must fails the test if err is not nil.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
