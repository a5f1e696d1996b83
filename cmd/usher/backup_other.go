//go:build !linux

package main

import (
	"context"
	"errors"
)

var errStandalone = &usageError{errors.New("an edge without Kubernetes needs Linux: run the command there")}

func (*standaloneOptions) backup(context.Context, string) error  { return errStandalone }
func (*standaloneOptions) restore(context.Context, string) error { return errStandalone }
