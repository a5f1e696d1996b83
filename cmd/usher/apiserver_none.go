//go:build !linux || nostandalone

package main

import (
	"context"
	"errors"
)

// hasAPIServer reports whether this program can serve the API of an edge without Kubernetes.
const hasAPIServer = false

var errNoAPIServer = &usageError{errors.New("this program has no API server: on Linux, use the Debian package or the program of the release, and not the one of the image for Kubernetes")}

func (*apiserverOptions) run(context.Context) error { return errNoAPIServer }

func (*standaloneOptions) backup(context.Context, string) error { return errNoAPIServer }

func (*standaloneOptions) restore(context.Context, string) error { return errNoAPIServer }
