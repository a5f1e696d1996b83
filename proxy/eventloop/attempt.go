package eventloop

// attempt identifies one period of one connection in one state. An asynchronous
// operation, such as a DNS lookup, holds the attempt that started it. When the result
// arrives, the connection may be in another state, or it may have ended and another
// connection may use its slot.
//
// Every asynchronous result must be delivered by answer, which drops late and
// repeated results.
type attempt struct {
	loop       *shared
	conn       *conn
	generation uint32
	number     uint32
}

// currentAttempt returns the current attempt. It expires when the connection enters a
// state, including the same state again.
func (c *conn) currentAttempt() attempt {
	return attempt{&c.loop.shared, c, c.generation, c.attempt}
}

// answer runs act on the loop, unless the attempt has expired by then. The attempt
// then expires. answer may be called from any goroutine.
func (a attempt) answer(act func()) {
	a.loop.post(func(*loop) {
		if a.expired() {
			return
		}
		a.conn.attempt++
		act()
	})
}

// expired reports whether the connection no longer waits for the result.
func (a attempt) expired() bool {
	return a.conn.generation != a.generation || a.conn.attempt != a.number
}
