//go:build !linux

package main

import (
	"context"
	"errors"
)

// run refuses, as usher run does.
func (*apiserverOptions) run(context.Context) error {
	return &usageError{errors.New("usher apiserver needs Linux")}
}
