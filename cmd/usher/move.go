package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/jovalle/usher/controllers/enroll"
	"github.com/jovalle/usher/proxy/routing"
)

// defaultMoveTimeout is the default of usher move --timeout.
const defaultMoveTimeout = 30 * time.Second

func moveCommand() *cobra.Command {
	o := clusterOptions{}
	var to string
	cmd := &cobra.Command{
		Use:   "move HOST --to CLUSTER",
		Short: "Give a host to another cluster that claims it",
		Long: `Give a host to another cluster that claims it, without a refused connection.
usher changes the backend and the holder of the host in one write; connections
that are open continue where they are. Where clusters share the host, the cluster
becomes its holder and first backend, and the others stay.

The cluster must claim the host, as kubectl get exposedhosts shows in RIVALS. The
command prints what to annotate so that the host stays there. The exit code is 1
if usher refuses, with the reason.`,
		Example:           `  usher move whoami.example.org --to illmatic`,
		Args:              oneArgument("HOST", "the host to move"),
		ValidArgsFunction: o.hosts,
		PersistentPreRun:  func(*cobra.Command, []string) { quiet() },
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.move(cmd, args[0], to)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&to, "to", "", "`CLUSTER` that gets the host")
	o.edgeFlags(cmd)
	flags.DurationVar(&o.Timeout, "timeout", defaultMoveTimeout, "time limit of the whole command")
	complete(cmd, map[string]cobra.CompletionFunc{
		"edge-context": contexts(o.edgeSource),
		"to": func(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return o.members(cmd, nil, typed)
		},
	})
	return cmd
}

func (o *clusterOptions) move(cmd *cobra.Command, name, to string) error {
	host, err := routing.ParseHost(strings.ToLower(name))
	switch {
	case err != nil:
		return usage("HOST: %w", err)
	case to == "":
		return badFlag("to", "is missing: name the cluster that gets the host")
	case o.Timeout <= 0:
		return badFlag("timeout", "must be longer than 0")
	}
	if err := enroll.CheckName(to); err != nil {
		return badFlag("to", "%w", err)
	}
	edge, err := o.connectEdge()
	if err != nil {
		return err
	}
	return enroll.Move(cmd.Context(), edge, enroll.MoveOptions{Host: host, To: to, Timeout: o.Timeout, Out: cmd.OutOrStdout()})
}

// hosts completes the name of a host, as the first argument.
func (o *clusterOptions) hosts(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return o.soon(cmd, args, func(ctx context.Context, edge *enroll.Cluster) []cobra.Completion {
		hosts, _ := enroll.Hosts(ctx, edge)
		slices.Sort(hosts)
		return hosts
	})
}
