package main

import (
	"github.com/spf13/cobra"
)

// apiserverOptions are the flags of the process that serves the API of an edge without Kubernetes.
type apiserverOptions struct {
	dir, listen         string
	hosts               []string
	logLevel, logFormat string
}

// apiserverCommand returns the command that usher run --standalone runs.
func apiserverCommand() *cobra.Command {
	o := apiserverOptions{}
	cmd := &cobra.Command{
		Use:    "apiserver",
		Short:  "Serve the API of an edge without Kubernetes; usher run --standalone starts it",
		Hidden: true,
		Args:   noArguments,
		RunE:   func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.dir, "dir", defaultStandalone, "`DIR` of the edge")
	flags.StringVar(&o.listen, "listen", "", "`ADDRESS` of the API")
	flags.StringSliceVar(&o.hosts, "host", nil, "`NAMES` for its certificate")
	flags.StringVar(&o.logLevel, "log-level", "info", "lowest `LEVEL` that is logged")
	flags.StringVar(&o.logFormat, "log-format", formatJSON, "`FORMAT` of the log")
	return cmd
}

// arguments returns the command line of the process.
func (o *apiserverOptions) arguments() []string {
	all := []string{"apiserver", "--dir=" + o.dir, "--listen=" + o.listen, "--log-level=" + o.logLevel, "--log-format=" + o.logFormat}
	for _, host := range o.hosts {
		all = append(all, "--host="+host)
	}
	return all
}
