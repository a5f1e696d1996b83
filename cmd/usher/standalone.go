package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
)

// backupTimeout bounds a backup and a restore.
const backupTimeout = 5 * time.Minute

// standaloneOptions are the flags of the commands about the directory of an edge without Kubernetes.
type standaloneOptions struct {
	dir     string
	timeout time.Duration
}

func standaloneCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:              "standalone",
		Short:            "Back up and restore an edge without Kubernetes (on Linux only)",
		PersistentPreRun: func(*cobra.Command, []string) { quiet() },
	}
	group(cmd)
	cmd.AddCommand(standaloneBackupCommand(), standaloneRestoreCommand())
	return cmd
}

func standaloneBackupCommand() *cobra.Command {
	return standaloneFileCommand("backup", "Write the objects and the keys of an edge without Kubernetes into a file", `Backup writes the objects and the keys of an edge without Kubernetes into a file, all as of
one moment, whether usher runs or not. Events, Leases and the history are not in it. The
file has the credentials of each member cluster and of the edge: only its owner may read
it, and it should be kept like the edge itself.`, `  usher standalone backup /root/usher-backup.tar.gz`, (*standaloneOptions).backup)
}

func standaloneRestoreCommand() *cobra.Command {
	return standaloneFileCommand("restore", "Make the directory of an edge without Kubernetes from a backup", `Restore makes the directory of an edge without Kubernetes from a file that usher standalone
backup has written. It refuses a directory that is not empty. Run it as the user that
usher run --standalone has.`, `  usher standalone restore /root/usher-backup.tar.gz`, (*standaloneOptions).restore)
}

// standaloneFileCommand returns a command about a directory and the file of a backup.
func standaloneFileCommand(name, short, long, example string, do func(*standaloneOptions, context.Context, string) error) *cobra.Command {
	o := standaloneOptions{}
	cmd := &cobra.Command{
		Use:     name + " FILE",
		Short:   short,
		Long:    long,
		Example: example,
		Args:    oneArgument("FILE", "the file of the backup"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(); err != nil {
				return err
			}
			ctx, stop := context.WithTimeout(cmd.Context(), o.timeout)
			defer stop()
			return do(&o, ctx, args[0])
		},
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVar(&o.dir, "dir", defaultStandalone, "`DIR` of the edge, as for usher run --standalone")
	cmd.Flags().DurationVar(&o.timeout, "timeout", backupTimeout, "time limit of the whole command")
	return cmd
}

func (o *standaloneOptions) check() error {
	var errs []error
	if o.dir == "" {
		errs = append(errs, badFlag("dir", "is empty: name the directory of the edge, such as %s", defaultStandalone))
	}
	if o.timeout <= 0 {
		errs = append(errs, badFlag("timeout", "must be longer than 0"))
	}
	return errors.Join(errs...)
}
