// Command testbed builds the servers of usher's test bed, and prints their paths.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/jovalle/usher/hack/testbed/servers"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "testbed:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd := &cobra.Command{
		Use:           "testbed",
		Short:         "The real servers that usher is tested against",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.AddCommand(build(), path())
	return cmd.ExecuteContext(ctx)
}

func build() *cobra.Command {
	return &cobra.Command{
		Use:   "build [NAME]...",
		Short: "Build what is not yet in the cache: the named servers, or all that tests and the demo use",
		RunE: func(cmd *cobra.Command, names []string) error {
			return servers.Build(cmd.Context(), cmd.ErrOrStderr(), names...)
		},
	}
}

func path() *cobra.Command {
	return &cobra.Command{
		Use:   "path NAME",
		Short: "Print where a server is in the cache",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			path, err := servers.Locate(names[0])
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), path)
			return nil
		},
	}
}
