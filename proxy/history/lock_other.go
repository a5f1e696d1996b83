//go:build !linux

package history

import (
	"errors"
	"os"
)

// lock is not needed: usher runs on Linux only, and the commands for other systems only read.
func lock(string) (*os.File, error) { return nil, errors.ErrUnsupported }
