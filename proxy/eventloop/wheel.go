package eventloop

import "math/bits"

const (
	tickBits      = 26             // a tick is 2^26 ns, 67 ms
	wheelSlots    = 1024           // a turn of the wheel is 69 s
	maxTicksAhead = wheelSlots - 1 // maximum distance of a slot, in ticks
)

// wheel is a timer wheel with one timer for each connection of a loop. Setting and
// removing a timer takes constant time. A timer with a deadline farther away than one
// turn of the wheel expires at the end of the turn, and is set again then. Times are
// loop times in nanoseconds.
type wheel struct {
	slots    [wheelSlots]*conn       // tick modulo wheelSlots → list of conns
	occupied [wheelSlots / 64]uint64 // one bit for each slot that is not empty
	tick     int64                   // the last tick that has expired
}

// timer is the position of a conn in the wheel.
type timer struct {
	prev, next *conn
	slot       int32 // 1 + the slot; 0 if not set
}

// set sets the timer of c to deadline. It expires up to a tick later, and earlier only
// if deadline is farther away than one turn of the wheel.
func (w *wheel) set(c *conn, deadline int64) {
	w.remove(c)
	tick := deadline>>tickBits + 1
	tick = min(max(tick, w.tick+1), w.tick+maxTicksAhead)
	slot := tick % wheelSlots
	head := w.slots[slot]
	c.timer = timer{next: head, slot: int32(slot) + 1}
	if head != nil {
		head.timer.prev = c
	}
	w.slots[slot] = c
	w.occupied[slot/64] |= 1 << (slot % 64)
}

func (w *wheel) remove(c *conn) {
	if c.timer.slot == 0 {
		return
	}
	slot, prev, next := c.timer.slot-1, c.timer.prev, c.timer.next
	if next != nil {
		next.timer.prev = prev
	}
	if prev != nil {
		prev.timer.next = next
	} else if w.slots[slot] = next; next == nil {
		w.occupied[slot/64] &^= 1 << (slot % 64)
	}
	c.timer = timer{}
}

// expire removes each timer that has expired at now and calls due, which may set it
// again.
func (w *wheel) expire(now int64, due func(*conn)) {
	for last := now >> tickBits; w.tick < last; {
		w.tick++
		slot := w.tick % wheelSlots
		for c := w.slots[slot]; c != nil; c = w.slots[slot] {
			w.remove(c)
			due(c)
		}
	}
}

// next returns when the next timer expires. ok is false if there is none.
func (w *wheel) next() (at int64, ok bool) {
	ahead := w.nextOccupied()
	return (w.tick + ahead) << tickBits, ahead > 0
}

// nextOccupied returns the distance of the next occupied slot from tick, in ticks, or
// 0 if there is none.
func (w *wheel) nextOccupied() int64 {
	for ahead := int64(1); ahead < wheelSlots; {
		slot := (w.tick + ahead) % wheelSlots
		rest := w.occupied[slot/64] >> (slot % 64)
		if rest != 0 {
			return ahead + int64(bits.TrailingZeros64(rest))
		}
		ahead += 64 - slot%64
	}
	return 0
}
