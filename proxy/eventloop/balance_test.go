package eventloop

import (
	"math"
	"runtime"
	"testing"
	"time"
)

func TestLoopsToAccept(t *testing.T) {
	for name, tt := range map[string]struct {
		percents []int64
		now      int
		want     int
	}{
		"one loop only":                 {[]int64{100}, 1, 1},
		"idle":                          {[]int64{0, 0, 0}, 1, 1},
		"first nearly busy":             {[]int64{79, 0, 0}, 1, 1},
		"first busy":                    {[]int64{90, 0, 0}, 1, 2},
		"first two busy":                {[]int64{90, 90, 0}, 2, 3},
		"all busy":                      {[]int64{90, 90, 90}, 3, 3},
		"first calmer, second needed":   {[]int64{60, 40, 0}, 2, 2},
		"first calm again":              {[]int64{40, 40, 0}, 2, 1},
		"second busy with old streams":  {[]int64{10, 90, 0}, 1, 1},
		"two calm again at once":        {[]int64{10, 10, 10}, 3, 1},
		"busy by far, none joins twice": {[]int64{100, 0, 0}, 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			if got := loopsToAccept(tt.percents, tt.now); got != tt.want {
				t.Errorf("loopsToAccept(%v, %d) = %d, want %d", tt.percents, tt.now, got, tt.want)
			}
		})
	}
}

func TestMeter(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var m meter
	began := threadTime()
	if !m.sample(int64(sampleInterval)) || m.sample(int64(sampleInterval)+1) {
		t.Fatal("the meter does not sample at its intervals")
	}
	spin(50 * time.Millisecond)
	m.sample(int64(sampleInterval + time.Second))
	if got, want := m.percent, (threadTime()-began)/int64(time.Second/100); got < 5 || got > want {
		t.Errorf("read %d %%, want from 5 to %d", got, want)
	}
	m.sample(int64(sampleInterval + time.Hour))
	if got := m.percent; got != 0 {
		t.Errorf("read %d %% after an idle hour", got)
	}
}

// spin uses processor time of the current thread.
func spin(d time.Duration) {
	for enough := threadTime() + int64(d); threadTime() < enough; {
	}
}

// While the first loop is busy, the second accepts too, and it stops when the first no
// longer is.
func TestSecondLoopAcceptsWhileFirstIsBusy(t *testing.T) {
	o := listen(t)
	e := start(t, routeA(o), func(f *Forwarder) { f.Loops = 2 })
	e.open(o) // so that both run
	loops := *e.loops.Load()
	measured(e, loops[0], busyPercent)
	release := hold(loops[0])
	client, backend := e.open(o)
	release()
	if n := loops[1].counters.accepted.Load(); n != 1 {
		t.Errorf("the second loop accepted %d connections, want 1", n)
	}
	measured(e, loops[0], 0)
	e.open(o)
	e.open(o)
	if n := loops[0].counters.accepted.Load(); n != 3 {
		t.Errorf("the first loop accepted %d connections, want 3", n)
	}
	send(t, client, []byte("still on the second"))
	expect(t, backend, []byte("still on the second"))
}

// measured sets the percentage of a loop's meter from now on.
func measured(e *edge, l *shared, percent int64) {
	l.post(func(l *loop) {
		l.meter.at = math.MaxInt64 / 2
		l.busy.Store(percent)
		l.balance()
	})
	want := float64(1 + percent/busyPercent)
	e.awaitMetric(want, "loops_accepting")
	for _, l := range *e.loops.Load() {
		hold(l)() // so that each has handled it
	}
}
