package testkit

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// Log stores the lines that a logger writes. The zero value is empty. Its methods
// may be called from several goroutines.
type Log struct {
	mu    sync.Mutex
	lines []string
}

// Add appends a line. It has the signature that funcr.New of logr calls: a prefix,
// which is ignored, and the line.
func (l *Log) Add(_, line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

// With returns the lines that contain each of the words.
func (l *Log) With(words ...string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for _, line := range l.lines {
		if ContainsAll(line, words) {
			found = append(found, line)
		}
	}
	return found
}

// ContainsAll reports whether a text contains each of the words.
func ContainsAll(text string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(text, word) {
			return false
		}
	}
	return true
}

// Await waits for a line that contains each of the words.
func (l *Log) Await(t testing.TB, words ...string) {
	t.Helper()
	Eventually(t, fmt.Sprintf("the log should have a line with %q", words), func() error {
		if len(l.With(words...)) == 0 {
			return fmt.Errorf("it has %q", l.With())
		}
		return nil
	})
}

// LogOf is the log of a test, for a logger that goroutines use which nobody can wait for,
// such as those of client-go's event recorder: what is logged after the test is dropped.
// testing.T itself must not be used then.
type LogOf struct {
	mu sync.Mutex
	t  testing.TB // nil after the test
}

// NewLogOf returns the log of a test.
func NewLogOf(t testing.TB) *LogOf {
	l := &LogOf{t: t}
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.t = nil
	})
	return l
}

// Helper does nothing: the lines are not those of a test function.
func (l *LogOf) Helper() {}

// Log logs a line.
func (l *LogOf) Log(args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.t != nil {
		l.t.Log(args...)
	}
}
