package testkit

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A record is a testing.TB that stores the message of its failure.
type record struct {
	testing.TB
	failure string
}

func (r *record) Helper() {}

func (r *record) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// waits runs a function of this package in fake time. It returns the message if the
// function failed the test, and how long it took.
func waits(t *testing.T, wait func(t testing.TB)) (failure string, took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &record{TB: t}
		began := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			wait(r)
		}()
		<-done
		failure, took = r.failure, time.Since(began)
	})
	return failure, took
}

func TestWaits(t *testing.T) {
	const moment = 10 * time.Second
	for name, tt := range map[string]struct {
		wait   func(t testing.TB)
		fails  string // part of the message; empty: no failure
		within [2]time.Duration
	}{
		"eventually, at once": {
			func(t testing.TB) { Eventually(t, "it", func() error { return nil }) }, "", [2]time.Duration{0, 0},
		},
		"eventually, later": {
			func(t testing.TB) { Eventually(t, "it", after(moment)) }, "", [2]time.Duration{moment, moment + maxPause},
		},
		"eventually, never": {
			func(t testing.TB) { Eventually(t, "it should be ready", after(2*Timeout)) }, "it should be ready: not yet (waited 3m0s)", [2]time.Duration{Timeout, Timeout + maxPause},
		},
		"wait, later": {
			func(t testing.TB) { WaitFor(t, "it", isNil(after(moment))) }, "", [2]time.Duration{moment, moment + maxPause},
		},
		"wait, never": {
			func(t testing.TB) { WaitFor(t, "it", isNil(after(2*Timeout))) }, "waited 3m0s for it", [2]time.Duration{Timeout, Timeout + maxPause},
		},
		"consistently, all the time": {
			func(t testing.TB) { Consistently(t, moment, "it", not(after(2*moment))) }, "", [2]time.Duration{moment, moment},
		},
		"consistently, until later": {
			func(t testing.TB) { Consistently(t, moment, "it", not(after(moment/2))) }, "it: already (after 5", [2]time.Duration{moment / 2, moment/2 + maxPause},
		},
	} {
		t.Run(name, func(t *testing.T) {
			failure, took := waits(t, tt.wait)
			if !strings.HasPrefix(failure, tt.fails) || (failure == "") != (tt.fails == "") {
				t.Errorf("fails with %q, want %q", failure, tt.fails)
			}
			if took < tt.within[0] || took > tt.within[1] {
				t.Errorf("takes %v, want %v", took, tt.within)
			}
		})
	}
}

// after returns a check that succeeds when d has passed since its first call.
func after(d time.Duration) func() error {
	var began time.Time
	return func() error {
		if began.IsZero() {
			began = time.Now()
		}
		if time.Since(began) < d {
			return errors.New("not yet")
		}
		return nil
	}
}

// not returns a check that succeeds if another fails.
func not(check func() error) func() error {
	return func() error {
		if check() == nil {
			return errors.New("already")
		}
		return nil
	}
}

func isNil(check func() error) func() bool { return func() bool { return check() == nil } }

func TestLogFindsLines(t *testing.T) {
	var log Log
	log.Add("", "Connection closed host=a.is")
	log.Add("", "Connection refused host=b.is")
	log.Await(t, "closed", "a.is")
	for _, tt := range []struct {
		words []string
		want  int
	}{{nil, 2}, {[]string{"Connection"}, 2}, {[]string{"refused", "b.is"}, 1}, {[]string{"refused", "a.is"}, 0}} {
		if n := len(log.With(tt.words...)); n != tt.want {
			t.Errorf("%d lines with %q, want %d", n, tt.words, tt.want)
		}
	}
}

func TestOpenDescriptorsAreCounted(t *testing.T) {
	FreeAddress(t, "127.0.0.1") // Go opens the descriptors that it keeps for all sockets
	before := OpenDescriptors(t)
	listener := ListenReusePort(t)
	if now := OpenDescriptors(t); now != before+1 {
		t.Errorf("%d are open beside a listener, %d before", now, before)
	}
	Must(t, listener.Close())
	if now := OpenDescriptors(t); now != before {
		t.Errorf("%d are open after it is closed, %d before", now, before)
	}
}

// A goroutine that outlives a test may log: with testing.T it would panic.
func TestLogAfterTheTest(t *testing.T) {
	var log *LogOf
	t.Run("ends", func(t *testing.T) {
		log = NewLogOf(t)
		log.Log("seen")
	})
	log.Log("dropped")
}
