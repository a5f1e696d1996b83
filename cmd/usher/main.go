// Command usher publishes the annotated hosts of several Kubernetes clusters
// behind one address. This package holds flags and wiring only, one file a command.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	_ "golang.org/x/crypto/x509roots/fallback" // Mozilla's CAs, for a machine without any, such as usher's image
)

// Exit codes: 0 is success.
const (
	exitFailure = 1 // the command ran and failed
	exitUsage   = 2 // the command line is invalid: nothing was done
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := rootCommand().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "usher:", err)
	if _, wrong := errors.AsType[*usageError](err); wrong {
		os.Exit(exitUsage)
	}
	os.Exit(exitFailure)
}

// usageError is an error in the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// badFlag returns a usage error about a flag.
func badFlag(name, format string, args ...any) error {
	return &usageError{fmt.Errorf("--%s: %w", name, fmt.Errorf(format, args...))}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "usher",
		Short:         "Publish annotated hosts of several Kubernetes clusters behind one address",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.AddCommand(runCommand(), checkCommand(), clusterCommand(), versionCommand())
	return root
}

// noArguments requires that there are no arguments.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return &usageError{fmt.Errorf("unexpected argument %q", args[0])}
	}
	return nil
}
