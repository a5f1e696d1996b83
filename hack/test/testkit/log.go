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
