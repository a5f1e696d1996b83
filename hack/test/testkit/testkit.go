// Package testkit is what tests of many packages need: to wait for a condition, to
// read a log, to count descriptors, to build usher.
//
// It imports nothing of usher and nothing of Kubernetes, because the tests of the
// data plane use it.
package testkit

import (
	"testing"
)

// Must fails the test where err is not nil.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
