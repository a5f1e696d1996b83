package eventloop

import "math/bits"

const (
	tickBits      = 26             // a tick is 2^26 ns, 67 ms
	wheelSlots    = 1024           // a turn of the wheel is 69 s
	maxTicksAhead = wheelSlots - 1 // ticks ahead that a slot can stand for
)

// wheel is the timers of a loop's connections, one each: setting and removing
// one takes the same few steps however many there are. A deadline farther off
// than a turn is set to the turn's end, and set again there. Times are those
// of the loop's clock, in nanoseconds.
type wheel struct {
	slots    [wheelSlots]*conn       // tick modulo wheelSlots → list of conns
	occupied [wheelSlots / 64]uint64 // one bit a slot that is not empty
	tick     int64                   // the last one that has expired
}

// timer is a conn's place in the wheel.
type timer struct {
	prev, next *conn
	slot       int32 // 1 + the slot; 0: not set
}

// set makes c due at deadline, or up to a tick later; never earlier, unless
// deadline is farther off than a turn of the wheel.
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

// expire removes each conn that is due at now and calls due with it, which may
// set it again.
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

// next returns when the next conn is due; ok is false when there is none.
func (w *wheel) next() (at int64, ok bool) {
	ahead := w.nextOccupied()
	return (w.tick + ahead) << tickBits, ahead > 0
}

// nextOccupied returns how many ticks after the last expired one the next
// occupied slot is; 0 when there is none.
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
