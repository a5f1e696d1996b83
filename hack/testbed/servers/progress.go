package servers

import (
	"fmt"
	"io"
	"time"
)

// heartbeat is how often a step that is not done says that it goes on.
const heartbeat = 15 * time.Second

// A step is one of a row of long jobs.
type step struct {
	out        io.Writer
	name       string
	number, of int
}

// run does the work, and says when it starts, that it goes on, and how it ended.
func (s step) run(work func() error) error {
	start := time.Now()
	s.say("building")
	done := make(chan error, 1)
	go func() { done <- work() }()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case err := <-done:
			s.say("%s after %s", outcome(err), since(start))
			return err
		case <-beat.C:
			s.say("still building after %s", since(start))
		}
	}
}

func outcome(err error) string {
	if err != nil {
		return "failed"
	}
	return "ready"
}

func since(start time.Time) time.Duration { return time.Since(start).Round(100 * time.Millisecond) }

func (s step) say(format string, args ...any) {
	fmt.Fprintf(s.out, "testbed %d/%d %s: %s\n", s.number, s.of, s.name, fmt.Sprintf(format, args...))
}
