package servers

import (
	"fmt"
	"io"
	"time"
)

// heartbeat is the interval at which a running step reports that it continues.
const heartbeat = 15 * time.Second

// A step is one of several long jobs.
type step struct {
	out        io.Writer
	name       string
	number, of int
}

// run does the work, and reports its start, its progress and its result.
func (s step) run(work func() error) error {
	start := time.Now()
	s.report("building")
	done := make(chan error, 1)
	go func() { done <- work() }()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case err := <-done:
			s.report("%s after %s", outcome(err), since(start))
			return err
		case <-beat.C:
			s.report("still building after %s", since(start))
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

func (s step) report(format string, args ...any) {
	fmt.Fprintf(s.out, "testbed %d/%d %s: %s\n", s.number, s.of, s.name, fmt.Sprintf(format, args...))
}
