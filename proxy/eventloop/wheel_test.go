package eventloop

import (
	"math/rand/v2"
	"testing"
	"time"
)

const tick = time.Duration(1) << tickBits

// TestWheelExpires sets random deadlines and advances the wheel by random steps: each
// timer must expire once, and at most a tick late.
func TestWheelExpires(t *testing.T) {
	var w wheel
	var now int64
	deadlines := make(map[*conn]int64)
	expire := func() {
		w.expire(now, func(c *conn) {
			deadline, ok := deadlines[c]
			if !ok {
				t.Fatal("a timer expired that is not set")
			}
			if late := time.Duration(now - deadline); late < 0 {
				t.Fatalf("due %v early", -late)
			}
			delete(deadlines, c)
		})
		for _, deadline := range deadlines {
			if late := time.Duration(now - deadline); late > 2*tick {
				t.Fatalf("still not due %v late", late)
			}
		}
	}
	var conns [100]conn
	for range 20_000 {
		c := &conns[rand.IntN(len(conns))]
		switch rand.IntN(3) {
		case 0:
			deadlines[c] = now + rand.Int64N(int64(60*time.Second))
			w.set(c, deadlines[c])
		case 1:
			w.remove(c)
			delete(deadlines, c)
		case 2:
			now += rand.Int64N(int64(time.Second))
			expire()
		}
		checkNext(t, &w, deadlines)
	}
	now += int64(time.Hour)
	expire()
	if len(deadlines) > 0 {
		t.Errorf("%d timers have not expired", len(deadlines))
	}
}

// checkNext compares next with all deadlines.
func checkNext(t *testing.T, w *wheel, deadlines map[*conn]int64) {
	t.Helper()
	at, ok := w.next()
	if ok != (len(deadlines) > 0) {
		t.Fatalf("next() = %v, %v with %d conns set", at, ok, len(deadlines))
	}
	for _, deadline := range deadlines {
		if at > deadline+2*int64(tick) {
			t.Fatalf("is due at %v next, with a deadline at %v", time.Duration(at), time.Duration(deadline))
		}
	}
}

func TestDeadlinesBeyondOneTurn(t *testing.T) {
	var w wheel
	c := new(conn)
	deadline := int64(time.Hour)
	w.set(c, deadline)
	turns := 0
	for now := int64(0); now <= deadline+int64(2*tick); now += int64(tick) {
		w.expire(now, func(c *conn) {
			if turns++; now < deadline {
				w.set(c, deadline)
			}
		})
	}
	if c.timer.slot != 0 || turns < 50 || turns > 60 {
		t.Errorf("was due %d times in an hour, and is still set: %v", turns, c.timer.slot != 0)
	}
}

// While timers expire, they set other timers and themselves.
func TestTimersMayBeSetDuringExpiry(t *testing.T) {
	var w wheel
	a, b := new(conn), new(conn)
	w.set(a, 0)
	w.set(b, 0)
	due := 0
	for now := int64(0); due < 10; now += int64(tick) {
		w.expire(now, func(c *conn) {
			due++
			w.set(c, 0) // long past
		})
	}
}

func BenchmarkWheel(b *testing.B) {
	var w wheel
	conns := make([]conn, 10_000)
	for i := 0; b.Loop(); i++ {
		c := &conns[i%len(conns)]
		w.set(c, int64(i)*1000)
		w.set(c, int64(i)*1000+int64(time.Hour))
		w.remove(c)
	}
}
