package main

import (
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// defaultReplaceTimeout is less than the 90 s that systemd gives a reload.
const defaultReplaceTimeout = time.Minute

// replaceOptions are the arguments of usher replace.
type replaceOptions struct {
	pid     int
	run     []string // the flags of usher run
	timeout time.Duration
}

func replaceCommand() *cobra.Command {
	o := replaceOptions{}
	cmd := &cobra.Command{
		Use:   "replace PID -- FLAGS",
		Short: "Let a new usher run take over from a running one, without a lost connection",
		Long: `Let a new usher run take over from a running one, and end when it has: for
ExecReload= of a systemd unit, as the Debian package has it, after an upgrade or a
change of flags.

The command starts usher run with FLAGS beside the process PID, of the same service.
Once the new process listens, it has all new connections. The command then tells
systemd that it is the main process, and sends the old one SIGUSR1: it ends with its
open connections, or after its --replaced-timeout.

If the flags are wrong, or the new process does not listen within --timeout, the new
process ends, the old one continues, and the exit code is not 0.`,
		Example: `  # in a systemd unit
  ExecReload=/usr/bin/usher replace $MAINPID -- $USHER_OPTIONS`,
		Args: o.read,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.replace(cmd) },
	}
	cmd.Flags().DurationVar(&o.timeout, "timeout", defaultReplaceTimeout, "how long the new process may take until it listens")
	complete(cmd, nil)
	return cmd
}

// read reads the arguments. It checks the flags of usher run as that command does.
func (o *replaceOptions) read(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usage("PID is missing: give the process to replace, as in %s", cmd.UseLine())
	}
	var err error
	if o.pid, err = strconv.Atoi(args[0]); err != nil || o.pid <= 1 {
		return usage("%q is no process ID: give that of the running usher, as $MAINPID in a systemd unit", args[0])
	}
	if len(args) > 1 && cmd.ArgsLenAtDash() != 1 {
		return usage("write -- between the process ID and the flags of usher run, as in %s", cmd.UseLine())
	}
	o.run = slices.Clone(args[1:])
	return positive("timeout", o.timeout)
}

// positive returns a usage error if the value of a flag is no positive duration.
func positive(name string, value time.Duration) error {
	if value > 0 {
		return nil
	}
	return badFlag(name, "%v is not a positive duration, such as %v", value, defaultReplaceTimeout)
}
