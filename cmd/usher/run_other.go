//go:build !linux

package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// replace refuses, as usher run does.
func (*replaceOptions) replace(cmd *cobra.Command) error {
	return (*runOptions)(nil).run(cmd.Context())
}

// run refuses: the proxy is made of Linux's epoll, splice and reuseport programs. The
// flags and their help are here all the same, for those who write them down elsewhere.
func (*runOptions) run(context.Context) error {
	return &usageError{fmt.Errorf("usher run needs Linux, and this is %s/%s: install usher on the edge, and use the other commands here", runtime.GOOS, runtime.GOARCH)}
}
