// Command usher publishes the annotated hosts of several Kubernetes clusters
// behind one address. This package holds flags and wiring only, one file a command.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	_ "golang.org/x/crypto/x509roots/fallback" // Mozilla's CAs, for a machine without any, such as usher's image
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

// Exit codes: 0 is success.
const (
	exitFailure = 1 // the command ran and failed
	exitUsage   = 2 // the command line is invalid: nothing was done; usher doctor: it could not audit
)

// exitCode is an exit code of a command that has printed all there is to say.
type exitCode int

// Error implements error.
func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := rootCommand().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	if code, silent := errors.AsType[exitCode](err); silent {
		os.Exit(int(code))
	}
	for line := range strings.Lines(err.Error() + "\n") {
		fmt.Fprint(os.Stderr, "usher: ", line)
	}
	if _, wrong := errors.AsType[*usageError](err); wrong {
		os.Exit(exitUsage)
	}
	os.Exit(exitFailure)
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "usher",
		Version:       version,
		Short:         "Publish annotated hosts of several Kubernetes clusters behind one address",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	if isPlugin(os.Args[0]) {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl usher"}
	}
	root.SetFlagErrorFunc(parseError)
	root.AddCommand(runCommand(), apiserverCommand(), standaloneCommand(), checkCommand(), clusterCommand(), dashboardCommand(), dnsCommand(), doctorCommand(), historyCommand(), knocksCommand(), moveCommand(), probeCommand(), versionCommand(), whyCommand())
	group(root)
	checkAll(root)
	return root
}

// isPlugin reports whether the program runs as a plugin of kubectl, by the name of its file.
func isPlugin(program string) bool {
	return strings.TrimSuffix(filepath.Base(program), ".exe") == "kubectl-usher"
}

// quiet discards the log of Kubernetes' libraries: what a person needs to know is in the
// error of the command.
func quiet() {
	ctrl.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
}
