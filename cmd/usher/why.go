package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/controllers/explain"
	"github.com/jovalle/usher/controllers/kubeconfig"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/proxy/history"
)

// objectsTimeout bounds the read of the edge cluster's objects when usher has not told all.
const objectsTimeout = 10 * time.Second

// whyOptions are the flags of usher why.
type whyOptions struct {
	askFlags
	at, format string
}

func whyCommand() *cobra.Command {
	o := whyOptions{}
	cmd := &cobra.Command{
		Use:   "why HOST",
		Short: "Explain why a host is exposed, or what stops it",
		Long: `Why goes every step from the objects of the members to the sockets of the backends: which
members were asked, which objects name the host, annotated or not, the checks of each
claim, the ExposedHost, the route of each proxy, whether the backends accept a connection,
isolation, DNS records, and what clients were refused. The last lines say what stops the
host, and the command that mends it. Commands for a member take the name of the member as
its context.

With --at the command answers from the history: whether the host could be reached then, by
whose word, for how long, and how many connections reached it.

The command asks all pods of usher through the API server of the edge cluster, or the
listeners of --admin. If no leader answers, it reads the ExposedHost and the MemberClusters
of the edge cluster. The exit code is 0 if the host is exposed, 1 if it is not, and 2 if
that cannot be told.`,
		Example: `  usher why vault.techn.is
  usher why vault.techn.is -o json
  usher why vault.techn.is --at 2026-11-24T10:00`,
		Args:              oneArgument("HOST", "the host to explain"),
		ValidArgsFunction: o.hosts,
		PersistentPreRun:  func(*cobra.Command, []string) { quiet() },
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.at, "at", "", "explain from the history what was so at this `TIME`, such as 2026-11-24T10:00, in local time unless it has a zone")
	outputFlag(cmd, &o.format, "text", valueFormats...)
	o.addTo(cmd)
	o.complete(cmd)
	return cmd
}

func (o *whyOptions) run(cmd *cobra.Command, name string) error {
	host, err := canonicalHost(name)
	at, badTime := parseTime(o.at, time.Now())
	if err := errors.Join(err, oneOf("output", o.format, valueFormats...), flagError("at", badTime), o.check()); err != nil {
		return err
	}
	if !at.IsZero() {
		return o.then(cmd, host, at)
	}
	is, err := o.explain(cmd, host)
	if err != nil {
		return err
	}
	if o.format != "" {
		err = printValue(cmd.OutOrStdout(), is, o.format)
	} else {
		err = printExplanation(cmd.OutOrStdout(), &is, colours(cmd.OutOrStdout()))
	}
	return errors.Join(err, verdictError(is.Verdict))
}

// verdictError returns the error that makes the exit code of a verdict; nil for exposed.
func verdictError(v explain.Verdict) error {
	switch v {
	case explain.Exposed:
		return nil
	case explain.NotExposed:
		return exitCode(exitFailure)
	}
	return exitCode(exitUsage)
}

// explain asks usher, and reads the objects of the edge cluster if no leader answers.
func (o *whyOptions) explain(cmd *cobra.Command, host string) (explain.Explanation, error) {
	facts, err := ask[explain.Facts](cmd.Context(), &o.askFlags, cmd.ErrOrStderr(), "/why", url.Values{history.ParamHost: {host}})
	var wrong *usageError
	switch {
	case errors.As(err, &wrong):
		return explain.Explanation{}, err
	case err != nil:
		warn(cmd.ErrOrStderr(), err)
	}
	leads, files := false, false
	for i := range facts {
		leads = leads || facts[i].Control != nil
		files = files || facts[i].Proxy != nil && facts[i].Proxy.Manifests
	}
	if !leads && !files && len(o.admin) == 0 {
		control, err := o.objects(cmd.Context(), host)
		if err != nil {
			warn(cmd.ErrOrStderr(), err)
		}
		facts = append(facts, explain.Facts{Host: host, Control: control})
	}
	return explain.Of(host, facts...), nil
}

func warn(out io.Writer, err error) {
	fmt.Fprintf(out, "Warning: %s\n", message.Bound(err.Error()))
}

// objects returns what the objects of the edge cluster say; nil without a kubeconfig.
func (o *whyOptions) objects(ctx context.Context, host string) (*explain.Control, error) {
	ctx, cancel := context.WithTimeout(ctx, objectsTimeout)
	defer cancel()
	source, err := o.edgeSource().Load()
	if errors.Is(err, kubeconfig.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	edge, err := client.New(source.REST, client.Options{Scheme: controllers.Scheme()})
	if err != nil {
		return nil, source.Failure(err)
	}
	control, err := controllers.FactsOfObjects(ctx, edge, host)
	if err != nil {
		return nil, source.Failure(err)
	}
	return control, nil
}

// past is what usher why --at prints.
type past struct {
	Host    string           `json:"host"`
	At      time.Time        `json:"at"`
	Verdict explain.Verdict  `json:"verdict"`
	Summary string           `json:"summary"`
	Periods []history.Period `json:"periods"`
}

// then explains what was so at a time.
func (o *whyOptions) then(cmd *cobra.Command, host string, at time.Time) error {
	asked := historyOptions{askFlags: o.askFlags}
	answer, err := asked.read(cmd, history.Query{Host: host, At: at})
	if err == nil && len(answer.Periods) == 0 && v1alpha1.WildcardOver(host) != "" {
		var over history.Answer
		if over, err = asked.read(cmd, history.Query{Host: v1alpha1.WildcardOver(host), At: at}); err == nil {
			answer.Periods = over.Periods
		}
	}
	if err != nil {
		warn(cmd.ErrOrStderr(), err)
		return exitCode(exitUsage)
	}
	is := pastOf(host, at, &answer, time.Now())
	if o.format != "" {
		err = printValue(cmd.OutOrStdout(), is, o.format)
	} else {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), is.Summary)
	}
	return errors.Join(err, verdictError(is.Verdict))
}

// pastOf says what an answer of the history means for a host.
func pastOf(host string, at time.Time, a *history.Answer, now time.Time) past {
	is := past{Host: host, At: at, Periods: a.Periods}
	switch {
	case at.After(now):
		is.Verdict, is.Summary = explain.CannotTell, fmt.Sprintf("%s is in the future", shortTime(at))
	case len(a.Periods) == 0 && at.Before(a.From):
		is.Verdict = explain.CannotTell
		is.Summary = fmt.Sprintf("it cannot be told whether %s was exposed at %s: the history is complete since %s", host, shortTime(at), shortTime(a.From))
	case len(a.Periods) == 0:
		is.Verdict, is.Summary = explain.NotExposed, fmt.Sprintf("%s was not exposed at %s", host, shortTime(at))
	case a.Periods[0].Host != host:
		is.Verdict = explain.CannotTell
		is.Summary = fmt.Sprintf("it cannot be told whether %s was exposed at %s: %s, which covers it unless the name had an ExposedHost of its own or was excepted", host, shortTime(at), periodText(&a.Periods[0], now))
	default:
		is.Verdict, is.Summary = explain.Exposed, periodText(&a.Periods[0], now)
	}
	return is
}

// periodText describes a time in which a host was public.
func periodText(p *history.Period, now time.Time) string {
	text := p.Host + " was exposed from " + shortTime(p.From)
	if p.To != nil {
		text += " to " + shortTime(*p.To)
	} else {
		text += " until now"
	}
	about := ""
	if p.About {
		about = "about "
	}
	text += fmt.Sprintf(" (%s%s)", about, p.Lasted(now).Round(time.Second))
	if p.By != nil {
		text += ", by the word of " + p.By.String()
		if p.By.Manager != "" {
			text += ", annotated by " + p.By.Manager
		}
	}
	text += ", for " + cmp.Or(strings.Join(p.AllowFrom, ", "), "everyone")
	text += fmt.Sprintf("; %d connections reached it", p.Connections)
	if p.Requests > 0 {
		text += fmt.Sprintf(", and %d requests over plain HTTP", p.Requests)
	}
	return message.Bound(text)
}

// colours reports whether an output is a terminal whose person wants colours: see
// https://no-color.org.
func colours(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(file.Fd()))
}

// signs are how marks are printed: mark → a character and the colour of SGR.
var signs = map[explain.Mark]struct{ sign, colour string }{
	explain.OK:      {"✓", "32"},
	explain.Failed:  {"✗", "31"},
	explain.Unknown: {"?", "33"},
	explain.Skipped: {"-", "2"},
	explain.Note:    {"·", "2"},
}

// titles are how steps are printed: name → title.
var titles = map[string]string{
	explain.StepMembers: "Members", explain.StepObjects: "Objects", explain.StepAdmission: "Admission",
	explain.StepExposedHost: "ExposedHost", explain.StepRoute: "Route", explain.StepBackends: "Backends",
	explain.StepIsolation: "Isolation", explain.StepDNS: "DNS", explain.StepKnocks: "Refused",
}

// printExplanation prints an explanation for a person. Its texts have no control characters.
func printExplanation(out io.Writer, is *explain.Explanation, colour bool) error {
	var text strings.Builder
	paint := func(code, what string) string {
		if !colour {
			return what
		}
		return "\x1b[" + code + "m" + what + "\x1b[0m"
	}
	mark := func(m explain.Mark) string { return paint(signs[m].colour, signs[m].sign) }
	for i := range is.Steps {
		step := &is.Steps[i]
		fmt.Fprintf(&text, "%s %-11s  %s\n", mark(step.Mark), titles[step.Name], step.Summary)
		printDetails(&text, step.Details, "    ", mark)
		if step.More > 0 {
			fmt.Fprintf(&text, "    and %d more\n", step.More)
		}
	}
	verdict := map[explain.Verdict]explain.Mark{explain.Exposed: explain.OK, explain.NotExposed: explain.Failed, explain.CannotTell: explain.Unknown}[is.Verdict]
	fmt.Fprintf(&text, "\n%s %s\n", mark(verdict), paint("1", is.Summary))
	if is.Cure != "" {
		fmt.Fprintln(&text, is.Cure)
	}
	if is.Command != "" {
		fmt.Fprintf(&text, "\n    %s\n", is.Command)
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func printDetails(text *strings.Builder, details []explain.Detail, indent string, mark func(explain.Mark) string) {
	for i := range details {
		d := &details[i]
		of := d.Of
		if of != "" {
			of += ": "
		}
		fmt.Fprintf(text, "%s%s %s%s\n", indent, mark(d.Mark), of, d.Text)
		if d.Command != "" {
			fmt.Fprintf(text, "%s  %s\n", indent, d.Command)
		}
		printDetails(text, d.Details, indent+"    ", mark)
	}
}
