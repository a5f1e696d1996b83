package eventloop

import (
	"io"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestJoined(t *testing.T) {
	for name, tt := range map[string]struct {
		shares []float64
		now    int
		want   int
	}{
		"one loop only":                 {[]float64{1}, 1, 1},
		"idle":                          {[]float64{0, 0, 0}, 1, 1},
		"first nearly busy":             {[]float64{.79, 0, 0}, 1, 1},
		"first busy":                    {[]float64{.9, 0, 0}, 1, 2},
		"first two busy":                {[]float64{.9, .9, 0}, 2, 3},
		"all busy":                      {[]float64{.9, .9, .9}, 3, 3},
		"first calmer, second needed":   {[]float64{.6, .4, 0}, 2, 2},
		"first calm again":              {[]float64{.4, .4, 0}, 2, 1},
		"second busy with old streams":  {[]float64{.1, .9, 0}, 1, 1},
		"two calm again at once":        {[]float64{.1, .1, .1}, 3, 1},
		"busy by far, none joins twice": {[]float64{1, 0, 0}, 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			if got := joined(tt.shares, tt.now); got != tt.want {
				t.Errorf("joined(%v, %d) = %d, want %d", tt.shares, tt.now, got, tt.want)
			}
		})
	}
}

func TestMeter(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	busy, rest := unix.Gettid(), make(chan int, 1)
	go func() {
		runtime.LockOSThread() // this thread ends with its goroutine
		rest <- unix.Gettid()
	}()
	m := newMeter([]int{busy, <-rest})
	for enough := threadTime(busy) + 50*time.Millisecond; threadTime(busy) < enough; {
	}
	elapsed := time.Since(m.at)
	shares := m.shares()
	if used := time.Duration(shares[0] * float64(elapsed)); used < 40*time.Millisecond || shares[0] > 1.1 || shares[1] > 0.1 {
		t.Errorf("a busy and an ended thread used %v of a processor", shares)
	}
}

// TestLoopsJoinAndLeave keeps the first loop busy: a second must accept.
func TestLoopsJoinAndLeave(t *testing.T) {
	o := listen(t)
	e := start(t, routeA(o), func(f *Forwarder) { f.Loops = 2 })
	e.open(o) // so that both run
	loops := *e.loops.Load()
	release := make(chan struct{})
	loops[0].post(func() {
		for {
			select {
			case <-release:
				return
			default: // use the processor
			}
		}
	})
	e.awaitMetric(2, "loops_accepting")
	client, backend := e.open(o)
	go func() { _, _ = io.Copy(backend, backend) }()
	send(t, client, []byte("served by the second"))
	expect(t, client, []byte("served by the second"))
	if n := loops[1].counters.accepted.Load(); n != 1 {
		t.Errorf("the second loop accepted %d connections", n)
	}
	close(release)
	e.awaitMetric(1, "loops_accepting")
	send(t, client, []byte("and still is"))
	expect(t, client, []byte("and still is"))
}
