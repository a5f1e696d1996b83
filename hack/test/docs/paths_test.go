package docs

import (
	"os"
	"testing"
)

// The paths in docs/architecture.md exist.
func TestPathsInArchitectureExist(t *testing.T) {
	const path = "`((?:api|charts|cmd|config|controllers|docs|hack|proxy)(?:/[a-z0-9_./]+)?)`"
	paths := named(read(t, docs+"architecture.md"), path)
	if len(paths) < 40 {
		t.Fatalf("only %d paths are found: the pattern is wrong", len(paths))
	}
	for _, path := range paths {
		if _, err := os.Stat("../../../" + path); err != nil {
			t.Error(err)
		}
	}
}
