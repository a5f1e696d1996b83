package eventloop

// attempt is one stay of one connection in one state, for which something was asked
// that is answered later: a name's addresses, say. By the time an answer comes, the
// connection may have gone on, or ended, and its slot be another's.
//
// It is a rule of the loop that every asynchronous answer carries the attempt that
// it is for, and comes in by answer: what is late, or comes again, is void.
type attempt struct {
	loop       *shared
	conn       *conn
	generation uint32
	number     uint32
}

// currentAttempt returns the attempt that is on now. It ends when a state is entered, be it
// the same once more.
func (c *conn) currentAttempt() attempt {
	return attempt{&c.loop.shared, c, c.generation, c.attempt}
}

// answer has act run on the loop, unless the attempt is over by then. It ends the
// attempt, and may be called from any goroutine.
func (a attempt) answer(act func()) {
	a.loop.post(func(*loop) {
		if a.expired() {
			return
		}
		a.conn.attempt++
		act()
	})
}

// expired reports whether nothing waits for the answer any more.
func (a attempt) expired() bool {
	return a.conn.generation != a.generation || a.conn.attempt != a.number
}
