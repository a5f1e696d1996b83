package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/jovalle/usher/controllers/doctor"
)

const (
	doctorTimeout = 10 * time.Minute
	// doctorMargin is the part of the time limit that is left for the answer.
	doctorMargin = 2 * time.Second
)

// doctorOptions are the flags of usher doctor.
type doctorOptions struct {
	askFlags
	format string
}

func doctorCommand() *cobra.Command {
	o := doctorOptions{}
	cmd := &cobra.Command{
		Use:   "doctor [HOST...]",
		Short: "Audit the published hosts from the outside",
		Long: `Doctor audits the published hosts, or those that are named: whether clients of one host
reach others, whether backends answer, their certificates, PROXY headers, ECH and DNS. For
each finding it prints the evidence, the risk, and the commands that cure it.

The usher that leads audits: it connects to the backends of the hosts as the proxy does,
and sends requests with the User-Agent usher-doctor. The command asks it through the API
server of the edge cluster, or at --admin. docs/doctor.md describes the findings.

The exit code is 1 if something was found, and 2 if the audit could not be made, or not
of all hosts.`,
		Example: `  usher doctor
  usher doctor vault.techn.is
  usher doctor -o json --admin http://127.0.0.1:8080`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: o.hosts,
		PersistentPreRun:  func(*cobra.Command, []string) { quiet() },
		RunE:              o.run,
	}
	cmd.Flags().SortFlags = false
	outputFlag(cmd, &o.format, "text", valueFormats...)
	o.addTo(cmd)
	timeout := cmd.Flags().Lookup("timeout")
	o.Timeout, timeout.DefValue = doctorTimeout, doctorTimeout.String()
	o.complete(cmd)
	return cmd
}

func (o *doctorOptions) run(cmd *cobra.Command, args []string) error {
	query := url.Values{}
	errs := []error{oneOf("output", o.format, valueFormats...), o.check()}
	for _, arg := range args {
		host, err := canonicalHost(arg)
		errs = append(errs, err)
		query.Add(doctor.ParamHost, host)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if limit := o.Timeout - doctorMargin; limit > 0 {
		query.Set(doctor.ParamFor, limit.String())
	}
	reports, err := ask[doctor.Report](cmd.Context(), &o.askFlags, cmd.ErrOrStderr(), "/doctor", query)
	if err != nil {
		return &usageError{err} // exit code 2: it could not be done
	}
	report := reports[0]
	if o.format != "" {
		err = printValue(cmd.OutOrStdout(), report, o.format)
	} else {
		err = printFindings(cmd.OutOrStdout(), &report)
	}
	switch {
	case err != nil:
		return err
	case report.Audited < report.Hosts:
		return usage("%d of %d hosts were not audited: give more time with --timeout, or name the hosts", report.Hosts-report.Audited, report.Hosts)
	case len(report.Findings) > 0:
		return fmt.Errorf("%d findings about %d hosts", len(report.Findings), report.Hosts)
	}
	return nil
}

func printFindings(out io.Writer, report *doctor.Report) error {
	for i := range report.Findings {
		f := &report.Findings[i]
		where := f.Host
		if f.Cluster != "" {
			where += " at " + f.Cluster
		}
		fmt.Fprintf(out, "%s: %s\n  evidence: %s\n  risk:     %s\n", f.Kind, where, f.Evidence, f.Risk)
		for n, command := range f.Cure {
			label := "cure:    "
			if n > 0 {
				label = "         "
			}
			fmt.Fprintf(out, "  %s %s\n", label, command)
		}
		fmt.Fprintln(out)
	}
	_, err := fmt.Fprintf(out, "%d hosts audited, %d findings.\n", report.Audited, len(report.Findings))
	return err
}
