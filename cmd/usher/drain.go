package main

import (
	"github.com/spf13/cobra"

	"github.com/jovalle/usher/controllers/enroll"
)

func clusterDrainCommand() *cobra.Command {
	o := askFlags{}
	drain := enroll.DrainOptions{}
	cmd := &cobra.Command{
		Use:   "drain NAME",
		Short: "Send no new connections to a member whose hosts have another backend",
		Long: `Send no new connections to a member, as far as its hosts have another backend
that answers: for an upgrade of the cluster, or before it is removed. Open
connections continue. Hosts that have no other backend keep this one; the command
lists them. It also prints how many connections are open, which it asks of usher's
pods, or of --admin where usher does not run as a pod.

It sets the annotation usher.techn.is/drain of the MemberCluster, as this does:

  kubectl annotate membercluster hades usher.techn.is/drain=true`,
		Example: `  usher cluster drain hades --wait
  usher cluster drain hades --undo
  usher cluster drain hades --admin http://127.0.0.1:8080`,
		Args:              oneName,
		ValidArgsFunction: o.members,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return o.drain(cmd, drain)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&drain.Undo, "undo", false, "end the drain: the member's hosts get new connections again")
	flags.BoolVar(&drain.Wait, "wait", false, "wait until no connection to the member is open; the exit code is 1 if --timeout passes before")
	o.adminFlag(cmd)
	o.namespaceFlag(cmd)
	o.edgeFlags(cmd)
	flags.DurationVar(&o.Timeout, "timeout", defaultClusterTimeout, "time limit of the whole command")
	o.complete(cmd)
	return cmd
}

func (a *askFlags) drain(cmd *cobra.Command, drain enroll.DrainOptions) error {
	if err := a.validate(); err != nil {
		return err
	}
	if drain.Undo && (drain.Wait || len(a.admin) > 0) {
		return badFlag("undo", "does not go with --wait or --admin: it asks for no connections")
	}
	if err := a.checkAdmin(); err != nil {
		return err
	}
	edge, err := a.connectEdge()
	if err != nil {
		return err
	}
	drain.Name, drain.Listeners, drain.Timeout, drain.Out = a.Name, a.listeners, a.Timeout, cmd.OutOrStdout()
	return enroll.Drain(cmd.Context(), edge, drain)
}
