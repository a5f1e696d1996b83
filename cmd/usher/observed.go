package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"github.com/jovalle/usher/controllers/adminclient"
	"github.com/jovalle/usher/controllers/enroll"
	"github.com/jovalle/usher/controllers/kubeconfig"
	"github.com/jovalle/usher/proxy/knocks"
	"github.com/jovalle/usher/proxy/routing"
)

const (
	// maxKnocks is how many names usher knocks lists.
	maxKnocks = 200

	// localAdmin is the URL of the admin listener at its default address.
	localAdmin = "http://127.0.0.1:8080"

	askTimeout     = 30 * time.Second
	maxAdminAnswer = 64 << 20 // in bytes
)

// askFlags are the flags of a command that asks running processes of usher.
type askFlags struct {
	clusterOptions // of the edge cluster, and the namespace of the pods
	admin          []string
}

func (a *askFlags) addTo(cmd *cobra.Command) {
	a.adminFlag(cmd)
	a.namespaceFlag(cmd)
	a.edgeFlags(cmd)
	cmd.Flags().DurationVar(&a.Timeout, "timeout", askTimeout, "time limit of the whole command")
}

func (a *askFlags) adminFlag(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&a.admin, "admin", nil, "`URL` of an admin listener of usher, such as "+localAdmin+"; can be repeated (default: those of usher's pods, through the API server; of an edge without Kubernetes, the one in its kubeconfig; without a kubeconfig "+localAdmin+")")
}

func (a *askFlags) complete(cmd *cobra.Command) {
	complete(cmd, map[string]cobra.CompletionFunc{"edge-context": contexts(a.edgeSource)})
}

// check returns an error that names every mistake.
func (a *askFlags) check() error {
	errs := []error{a.checkAdmin(), flagError("namespace", enroll.CheckName(a.Namespace))}
	if len(a.admin) > 0 && (a.edgeKubeconfig != "" || a.edgeContext != "") {
		errs = append(errs, badFlag("admin", "usher is asked either there or in the edge cluster: remove --edge-kubeconfig and --edge-context"))
	}
	if a.Timeout <= 0 {
		errs = append(errs, badFlag("timeout", "must be longer than 0"))
	}
	return errors.Join(errs...)
}

// checkAdmin returns an error if a value of --admin is no URL.
func (a *askFlags) checkAdmin() error {
	var errs []error
	for _, admin := range a.admin {
		errs = append(errs, flagError("admin", adminclient.CheckURL(admin)))
	}
	return errors.Join(errs...)
}

// listeners returns the admin listeners to ask: at least one, or an error.
func (a *askFlags) listeners(ctx context.Context) ([]adminclient.Listener, error) {
	if len(a.admin) > 0 {
		return listenersAt(a.admin...), nil
	}
	edge, err := a.edgeSource().Load()
	switch {
	case err == nil && edge.Admin != "":
		return listenersAt(edge.Admin), nil
	case err == nil && edge.Context != kubeconfig.InCluster:
		return listenersIn(ctx, edge.REST, a.Namespace)
	case err == nil, errors.Is(err, kubeconfig.ErrNotFound) && a.edgeKubeconfig == "" && a.edgeContext == "":
		return listenersAt(localAdmin), nil
	}
	return nil, &usageError{err}
}

func listenersAt(urls ...string) []adminclient.Listener {
	all := make([]adminclient.Listener, len(urls))
	for i, admin := range urls {
		all[i] = adminclient.At(admin)
	}
	return all
}

func listenersIn(ctx context.Context, edge *rest.Config, namespace string) ([]adminclient.Listener, error) {
	all, err := adminclient.InPods(ctx, edge, namespace)
	if err != nil {
		return nil, fmt.Errorf("%w; name the admin listeners of usher with --admin if it does not run in this cluster (%s)", err, edge.Host)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no pod of usher runs in namespace %s of the cluster %s: name it with --namespace, another cluster with --edge-context, or the admin listeners of usher with --admin", namespace, edge.Host)
	}
	return all, nil
}

// ask returns the answers of all processes that serve a path. It returns an error only if
// there is no answer; otherwise it writes a warning for each process that failed.
func ask[T any](ctx context.Context, a *askFlags, warnings io.Writer, path string, query url.Values) ([]T, error) {
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	listeners, err := a.listeners(ctx)
	if err != nil {
		return nil, err
	}
	type result struct {
		value T
		err   error
	}
	results := make([]chan result, len(listeners))
	for i, listener := range listeners {
		results[i] = make(chan result, 1)
		go func() {
			var r result
			r.err = listener.JSON(ctx, path, query, maxAdminAnswer, &r.value)
			results[i] <- r
		}()
	}
	var answers []T
	var failures []error
	for _, done := range results {
		if r := <-done; r.err == nil {
			answers = append(answers, r.value)
		} else {
			failures = append(failures, r.err)
		}
	}
	if len(answers) == 0 {
		return nil, fmt.Errorf("ask usher: %w", errors.Join(failures...))
	}
	for _, failure := range failures {
		if !errors.Is(failure, adminclient.ErrNotServed) { // a process with the other half
			fmt.Fprintf(warnings, "Warning: the answer is incomplete: %v\n", failure)
		}
	}
	return answers, nil
}

func knocksCommand() *cobra.Command {
	var format string
	a := askFlags{}
	cmd := &cobra.Command{
		Use:   "knocks",
		Short: "List the names that clients asked for and were refused",
		Long: `Knocks lists the host names that clients have asked usher for and were refused, since
usher started: at most 200, those that were asked for most often and the latest ones.
NETWORKS are the networks of the latest clients. The last line is for all requests
without a valid host name. SERVED BY names the member clusters that serve the name
although no object with the annotation publishes it.

The command asks all pods of usher through the API server of the edge cluster, or the
listeners of --admin.`,
		Example: `  usher knocks
  usher knocks -o json --admin http://127.0.0.1:8080`,
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		PersistentPreRun:  func(*cobra.Command, []string) { quiet() },
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(oneOf("output", format, valueFormats...), a.check()); err != nil {
				return err
			}
			answers, err := ask[[]knocks.Knock](cmd.Context(), &a, cmd.ErrOrStderr(), "/knocks", nil)
			if err != nil {
				return err
			}
			all := knocks.Merge(maxKnocks, answers...)
			if format != "" {
				return printValue(cmd.OutOrStdout(), all, format)
			}
			return printKnocks(cmd.OutOrStdout(), all)
		},
	}
	cmd.Flags().SortFlags = false
	outputFlag(cmd, &format, "a table", valueFormats...)
	a.addTo(cmd)
	a.complete(cmd)
	return cmd
}

func printKnocks(out io.Writer, all []knocks.Knock) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "HOST\tCOUNT\tFIRST\tLAST\tREASON\tNETWORKS\tSERVED BY")
	for i := range all {
		k := &all[i]
		served := "-"
		if len(k.ServedBy) > 0 {
			served = strings.Join(k.ServedBy, ",") + ", not annotated"
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", cmp.Or(k.Host, "(no valid name)"), k.Count,
			shortTime(k.First), shortTime(k.Last), k.Reason, joinedNetworks(k.Networks), served)
	}
	return table.Flush()
}

func joinedNetworks(networks []netip.Prefix) string {
	texts := make([]string, len(networks))
	for i, network := range networks {
		texts[i] = network.String()
	}
	return cmp.Or(strings.Join(texts, ","), "-")
}

func shortTime(at time.Time) string { return at.Local().Format("2006-01-02 15:04:05") }

// canonicalHost returns a host as the history has it.
func canonicalHost(host string) (string, error) {
	parsed, err := routing.ParseHost(host)
	if err != nil {
		return "", usage("%w", err)
	}
	return parsed, nil
}
