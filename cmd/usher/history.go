package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/jovalle/usher/proxy/history"
)

// historyOptions are the flags of usher history.
type historyOptions struct {
	askFlags
	stateDir          string
	since, at, format string
}

func historyCommand() *cobra.Command {
	o := historyOptions{}
	cmd := &cobra.Command{
		Use:   "history [HOST]",
		Short: "Show what was public, when, and by whose word",
		Long: `History shows the times in which hosts were public: from when, to when, by which object
of which cluster, where connections went, and how many reached a backend. With --at it
shows what was public at a time. The answer says how far back it is complete.

A name under a wildcard has no entry of its own: ask for the wildcard. CONNECTIONS are
counted from the time at which the host became public, also if it was moved or changed
since.

The command asks all pods of usher through the API server of the edge cluster, or the
listeners of --admin, and adds up their connections. With --state-dir it reads the files
of one usher, also while that does not run. The exit code is 1 if a HOST is given and was
not public.`,
		Example: `  usher history vault.techn.is
  usher history --since 30d
  usher history vault.techn.is --at 2026-11-24T10:00
  usher history --state-dir /var/lib/usher -o json`,
		Args:              func(cmd *cobra.Command, args []string) error { return atMost(cmd, args, 1) },
		ValidArgsFunction: o.hosts,
		PersistentPreRun:  func(*cobra.Command, []string) { quiet() },
		RunE:              o.run,
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.since, "since", "", "leave out what ended more than this `TIME` ago, such as 30d or 12h, or before it, such as 2026-11-24")
	flags.StringVar(&o.at, "at", "", "show what was public at this `TIME`, such as 2026-11-24T10:00, in local time unless it has a zone")
	outputFlag(cmd, &o.format, "a table", valueFormats...)
	flags.StringVar(&o.stateDir, "state-dir", "", "state `DIR` of usher, to read instead of asking it")
	o.addTo(cmd)
	o.complete(cmd)
	return cmd
}

func (o *historyOptions) run(cmd *cobra.Command, args []string) error {
	now := time.Now()
	query, err := o.query(args, now)
	if err != nil {
		return err
	}
	answer, err := o.read(cmd, query)
	if err != nil {
		return err
	}
	if o.format != "" {
		err = printValue(cmd.OutOrStdout(), answer, o.format)
	} else {
		err = printHistory(cmd.OutOrStdout(), &answer, now)
	}
	if err == nil && query.Host != "" && len(answer.Periods) == 0 {
		return fmt.Errorf("%s was not public%s, as far as is known since %s", query.Host, atTime(query), shortTime(answer.From))
	}
	return err
}

// query returns the query of the flags and the argument.
func (o *historyOptions) query(args []string, now time.Time) (history.Query, error) {
	errs := []error{oneOf("output", o.format, valueFormats...), o.check()}
	var q history.Query
	var err error
	if len(args) > 0 {
		q.Host, err = canonicalHost(args[0])
		errs = append(errs, err)
	}
	if o.stateDir != "" {
		errs = append(errs, flagError("state-dir", checkDirectory(o.stateDir)))
		if len(o.admin) > 0 {
			errs = append(errs, badFlag("state-dir", "the history is either read there or asked for: remove --admin"))
		}
	}
	q.Since, err = parseTime(o.since, now)
	errs = append(errs, flagError("since", err))
	q.At, err = parseTime(o.at, now)
	errs = append(errs, flagError("at", err))
	return q, errors.Join(errs...)
}

// parseTime returns the time of a text: how long ago, such as 30d, or a date, with or
// without a time and a zone. It returns the zero time for an empty text.
func parseTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if days, found := strings.CutSuffix(text, "d"); found {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: write 30d or 12h for how long ago, or a date such as 2026-11-24 or 2026-11-24T10:00", text)
}

// read asks usher, or reads the state directory.
func (o *historyOptions) read(cmd *cobra.Command, q history.Query) (history.Answer, error) {
	if o.stateDir != "" {
		answer, err := history.Read(o.stateDir, q)
		if err != nil {
			err = fmt.Errorf("%s: %w", o.stateDir, err)
		}
		return answer, err
	}
	values := url.Values{}
	if q.Host != "" {
		values.Set(history.ParamHost, q.Host)
	}
	for name, at := range map[string]time.Time{history.ParamSince: q.Since, history.ParamAt: q.At} {
		if !at.IsZero() {
			values.Set(name, at.Format(time.RFC3339))
		}
	}
	answers, err := ask[history.Answer](cmd.Context(), &o.askFlags, cmd.ErrOrStderr(), "/history", values)
	if err != nil {
		return history.Answer{}, err
	}
	return history.Merge(answers), nil
}

func printHistory(out io.Writer, a *history.Answer, now time.Time) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(a.Periods) > 0 {
		fmt.Fprintln(table, "HOST\tPUBLIC FROM\tTO\tLASTED\tBY\tBACKENDS\tALLOW FROM\tCONNECTIONS")
	}
	for i := range a.Periods {
		p := &a.Periods[i]
		to, by, mark := "now", "-", ""
		if p.To != nil {
			to = shortTime(*p.To)
		}
		if p.By != nil {
			by = p.By.String()
			if p.By.Manager != "" {
				by += ", annotated by " + p.By.Manager
			}
		}
		if p.About {
			mark = "about "
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s%s\t%s\t%s\t%s\t%d\n", p.Host, shortTime(p.From), to, mark, p.Lasted(now).Round(time.Second), by,
			cmp.Or(strings.Join(p.Backends, ","), "-"), cmp.Or(strings.Join(p.AllowFrom, ","), "everyone"), p.Connections)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	var dropped uint64
	for i := range a.Changes {
		dropped += a.Changes[i].Count
	}
	if dropped > 0 {
		fmt.Fprintf(out, "%d changes are not recorded: there were too many. See the events \"dropped\" of -o json.\n", dropped)
	}
	if a.Cut {
		fmt.Fprintln(out, "There is more: the oldest entries are left out. Use --since or a HOST.")
	}
	_, err := fmt.Fprintf(out, "The history is complete since %s.\n", shortTime(a.From))
	return err
}

// atTime returns when a query asks for, as the end of "was not public".
func atTime(q history.Query) string {
	if q.At.IsZero() {
		return ""
	}
	return " at " + shortTime(q.At)
}
