package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/jovalle/usher/controllers/enroll"
	"github.com/jovalle/usher/controllers/kubeconfig"
)

const (
	defaultNamespace      = "usher-system"
	defaultClusterTimeout = 2 * time.Minute
)

// Values of --dry-run: the cluster whose manifests are printed.
const (
	dryRunMember = "member"
	dryRunEdge   = "edge"
	dryRunAll    = "all"
)

var dryRuns = []string{dryRunMember, dryRunEdge, dryRunAll}

func clusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:              "cluster",
		Short:            "Add, drain, isolate, list and remove member clusters",
		PersistentPreRun: func(*cobra.Command, []string) { quiet() },
	}
	group(cmd)
	cmd.AddCommand(clusterAddCommand(), clusterDrainCommand(), clusterIsolateCommand(), clusterListCommand(), clusterRemoveCommand())
	return cmd
}

// clusterOptions are the flags of the cluster commands.
type clusterOptions struct {
	enroll.Options
	kubeconfig, context         string // of the member
	edgeKubeconfig, edgeContext string
	service                     string // NAMESPACE/NAME
	dryRun                      string // which cluster's manifests to print; empty: none
	output                      string // of --dry-run
	list                        listFlags
	yes                         bool
	input                       *bufio.Reader // of the person; see answers
}

// edgeSource returns where the kubeconfig of the edge cluster is.
func (o *clusterOptions) edgeSource() kubeconfig.Source {
	return kubeconfig.Source{Cluster: "the edge cluster", File: cmp.Or(o.edgeKubeconfig, o.thisEdge()), Context: o.edgeContext, FileFlag: "edge-kubeconfig", ContextFlag: "edge-context"}
}

// thisEdge returns the kubeconfig of the edge without Kubernetes on this machine, or an
// empty string if there is none, this person may not read it, or chooses another edge.
func (o *clusterOptions) thisEdge() string {
	if o.edgeContext != "" || os.Getenv(clientcmd.RecommendedConfigPathEnvVar) != "" {
		return ""
	}
	path := filepath.Join(defaultStandalone, "kubeconfig")
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	_ = file.Close()
	return path
}

// memberSource returns where the kubeconfig of the member is.
func (o *clusterOptions) memberSource() kubeconfig.Source {
	return kubeconfig.Source{Cluster: "the member", File: o.kubeconfig, Context: o.context, FileFlag: "kubeconfig", ContextFlag: "context"}
}

// edgeFlags adds the flags that select the edge cluster.
func (o *clusterOptions) edgeFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.edgeKubeconfig, "edge-kubeconfig", "", "kubeconfig `FILE` of the edge cluster (default: as kubectl; on an edge without Kubernetes, without $KUBECONFIG, "+defaultStandalone+"/kubeconfig)")
	flags.StringVar(&o.edgeContext, "edge-context", "", "`CONTEXT` of the edge cluster (default: the current one)")
}

// memberFlags adds the flags that select both clusters, and the timeout.
func (o *clusterOptions) memberFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.context, "context", "", "`CONTEXT` of the member (default: the current one)")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `FILE` of the member (default: as kubectl)")
	o.edgeFlags(cmd)
	flags.DurationVar(&o.Timeout, "timeout", defaultClusterTimeout, "time limit of the whole command")
}

// namespaceFlag adds the flag for the namespace of usher's Secrets.
func (o *clusterOptions) namespaceFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.Namespace, "namespace", "n", defaultNamespace, "`NAMESPACE` of usher in the edge cluster")
}

func clusterAddCommand() *cobra.Command {
	o := clusterOptions{}
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Make a cluster a member, or rotate the token of a member",
		Long: `Make a cluster a member. The command creates a service account in it that can
only read what usher watches. In the edge cluster it creates a Secret with the
token of this account, and the MemberCluster. If the cluster is a member already,
its token is rotated without an interruption. Nothing else of it changes, unless
a flag says so.

If several Traefiks of the member have an address, the command asks which one
usher connects to; without a terminal, name it with --service. usher then
publishes only what this Traefik serves, by its ingress class and entry points.

With --dry-run the command writes nothing. It prints the manifests instead, so
that they can be kept in a repository:

  usher cluster add NAME --context CTX --dry-run=member | kubectl --context CTX apply -f -
  usher cluster add NAME --context CTX --dry-run=edge | kubectl apply -f -

The manifests do not contain the token: the same command without --dry-run creates it.`,
		Example: `  usher cluster add hades --context hades
  usher cluster add illmatic --context illmatic --server https://192.168.1.20:6443 --address 192.168.1.20`,
		Args:              oneName,
		ValidArgsFunction: o.members,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return o.add(cmd)
		},
	}
	flags := cmd.Flags()
	o.memberFlags(cmd)
	o.namespaceFlag(cmd)
	flags.StringArrayVar(&o.Addresses, "address", nil, "`ADDRESS` of the member's Traefik, without a port; can be repeated (default: the current address of its Service); with --service, that Service tells what Traefik serves")
	flags.StringVar(&o.service, "service", "", "`NAMESPACE/NAME` of Traefik's Service; without --address, usher follows changes of its load-balancer address (default: the Service is searched for, and its current address is pinned)")
	flags.StringVar(&o.Server, "server", "", "`URL` of the member's API server as the edge cluster reaches it (default: the one in the kubeconfig)")
	flags.BoolVar(&o.Isolate, "isolate", false, "isolate the member too, as usher cluster isolate does; recommended for each new member")
	o.yesFlag(cmd)
	o.dryRunFlags(cmd)
	o.complete(cmd)
	return cmd
}

// complete completes the values of the flags of a cluster command.
func (o *clusterOptions) complete(cmd *cobra.Command) {
	complete(cmd, map[string]cobra.CompletionFunc{
		"context":      contexts(o.memberSource),
		"edge-context": contexts(o.edgeSource),
		"dry-run":      oneOfThese(dryRuns...),
	})
}

// dryRunFlags adds the flags that print the manifests instead of writing them.
func (o *clusterOptions) dryRunFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.dryRun, "dry-run", "", "write nothing, but print the manifests for `member`, edge or all (default: all)")
	flags.Lookup("dry-run").NoOptDefVal = dryRunAll
	outputFlag(cmd, &o.output, "yaml; only with --dry-run", enroll.FormatYAML, enroll.FormatJSON)
}

func (o *clusterOptions) add(cmd *cobra.Command) error {
	if err := o.validateAdd(); err != nil {
		return err
	}
	return o.write(cmd, enroll.Add, enroll.Plan)
}

// write runs a command, or with --dry-run prints the manifests that it would write.
func (o *clusterOptions) write(cmd *cobra.Command, do enrollFunc, plan planFunc) error {
	member, edge, err := o.connect()
	if err != nil {
		return err
	}
	if err := o.confirmEdge(cmd, edge, member); err != nil {
		return err
	}
	if o.dryRun != "" {
		return o.plan(cmd, edge, member, plan)
	}
	o.Out = cmd.OutOrStdout()
	o.Choose, o.Isolation.Confirm = o.choose(cmd, o.Out), o.ask(cmd)
	return do(cmd.Context(), edge, member, o.Options)
}

type (
	enrollFunc func(ctx context.Context, edge, member *enroll.Cluster, o enroll.Options) error
	planFunc   func(ctx context.Context, edge, member *enroll.Cluster, o enroll.Options) (inMember, atEdge []*unstructured.Unstructured, err error)
)

// plan prints the manifests that a command would write.
func (o *clusterOptions) plan(cmd *cobra.Command, edge, member *enroll.Cluster, plan planFunc) error {
	o.Out = cmd.ErrOrStderr()
	o.Choose = o.choose(cmd, o.Out)
	inMember, atEdge, err := plan(cmd.Context(), edge, member, o.Options)
	if err != nil {
		return err
	}
	switch o.dryRun {
	case dryRunMember:
		atEdge = nil
	case dryRunEdge:
		inMember = nil
	}
	return enroll.Print(cmd.OutOrStdout(), append(inMember, atEdge...), o.output)
}

func (o *clusterOptions) validateAdd() error {
	if err := o.validateDryRun(); err != nil {
		return err
	}
	if o.service != "" {
		namespace, name, _ := strings.Cut(o.service, "/")
		if namespace == "" || name == "" || strings.Contains(name, "/") {
			return badFlag("service", "%q is not NAMESPACE/NAME, such as kube-system/traefik", o.service)
		}
		o.Service = types.NamespacedName{Namespace: namespace, Name: name}
	}
	return o.validate()
}

func (o *clusterOptions) validateDryRun() error {
	if o.output != "" && o.dryRun == "" {
		return badFlag("output", "requires --dry-run: without it the manifests are applied, and not printed")
	}
	if err := oneOf("output", o.output, enroll.FormatYAML, enroll.FormatJSON); err != nil {
		return err
	}
	return oneOf("dry-run", o.dryRun, dryRuns...)
}

func (o *clusterOptions) validate() error {
	if err := o.Validate(); err != nil {
		return &usageError{err}
	}
	return nil
}

// connect reads the kubeconfigs of both clusters. If only the member's fails, edge is returned with the error.
func (o *clusterOptions) connect() (member, edge *enroll.Cluster, err error) {
	if edge, err = o.connectEdge(); err != nil {
		return nil, nil, err
	}
	if member, err = enroll.Connect(o.memberSource()); err != nil {
		return nil, edge, &usageError{err}
	}
	return member, edge, nil
}

func (o *clusterOptions) connectEdge() (*enroll.Cluster, error) {
	edge, err := enroll.Connect(o.edgeSource())
	if err != nil {
		return nil, &usageError{err}
	}
	return edge, nil
}

// confirmEdge asks the person if no flag names the context of the member, and it would be
// the edge cluster itself. If there is nobody to ask, it refuses.
func (o *clusterOptions) confirmEdge(cmd *cobra.Command, edge, member *enroll.Cluster) error {
	if o.context != "" {
		return nil
	}
	same, err := enroll.Same(cmd.Context(), edge, member)
	if err != nil || !same {
		return err
	}
	if onTerminal(cmd.InOrStdin()) && o.confirm(cmd, fmt.Sprintf("Without --context, the member %s would be the edge cluster itself (%s). Is it?", o.Name, member)) {
		return nil
	}
	known, _ := o.memberSource().Contexts()
	return badFlag("context", "is missing, and the member %s would be the edge cluster itself (%s); name the member's context, of: %s", o.Name, member, strings.Join(known, ", "))
}

func clusterListCommand() *cobra.Command {
	o := clusterOptions{}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the member clusters",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.printList(cmd) },
	}
	o.edgeFlags(cmd)
	o.list.addTo(cmd)
	o.complete(cmd)
	return cmd
}

func (o *clusterOptions) printList(cmd *cobra.Command) error {
	printer, err := o.list.printer()
	if err != nil {
		return err
	}
	edge, err := o.connectEdge()
	if err != nil {
		return err
	}
	if !o.list.asTable() {
		members, err := enroll.List(cmd.Context(), edge)
		if err != nil {
			return err
		}
		return printer.PrintObj(members, cmd.OutOrStdout())
	}
	table, err := enroll.Table(cmd.Context(), edge)
	if err != nil {
		return err
	}
	if len(table.Rows) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "There is no member cluster yet: usher cluster add NAME --context CONTEXT")
		return nil
	}
	return printer.PrintObj(table, cmd.OutOrStdout())
}

func clusterRemoveCommand() *cobra.Command {
	o := clusterOptions{}
	cmd := &cobra.Command{
		Use:               "remove NAME",
		Aliases:           []string{"rm"},
		Short:             "Withdraw a member's hosts, and delete what add created in both clusters",
		Args:              oneName,
		ValidArgsFunction: o.members,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return o.remove(cmd)
		},
	}
	o.memberFlags(cmd)
	o.namespaceFlag(cmd)
	cmd.Flags().BoolVar(&o.Force, "force", false, "delete the objects in the edge cluster even if the member cannot be reached")
	o.complete(cmd)
	return cmd
}

func (o *clusterOptions) remove(cmd *cobra.Command) error {
	if err := o.validate(); err != nil {
		return err
	}
	member, edge, err := o.connect()
	if err != nil && (edge == nil || !o.Force) {
		return err
	}
	o.Out = cmd.OutOrStdout()
	if err != nil {
		fmt.Fprintf(o.Out, "the member is not changed: %v\n", err)
	}
	return enroll.Remove(cmd.Context(), edge, member, o.Options)
}

// oneName requires exactly one argument: the name of the member.
func oneName(cmd *cobra.Command, args []string) error {
	return oneArgument("NAME", "the name of the member")(cmd, args)
}
