package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jovalle/usher/controllers/enroll"
)

func clusterIsolateCommand() *cobra.Command {
	o := clusterOptions{}
	cmd := &cobra.Command{
		Use:   "isolate NAME",
		Short: "Keep clients of published hosts from the other hosts of a member's Traefik",
		Long: `Keep clients of published hosts from the other hosts of a member's Traefik.

usher routes a TLS connection by the host name in its ClientHello, and does not
see the host name of the requests in it. Traefik compares the two if published
routes have TLS options of their own: it then answers 421 to a request for
another host. This command

  - creates in the member the TLSOption exposed, without content, in the
    namespace of Traefik's Service and in each namespace that has routes to
    edit; hosts with usher.techn.is/allow-from get TLSOptions of their own,
    such as exposed-192-168-1-0-24;
  - creates there the IngressRoute usher-catch-all, for all hosts that no other
    route names, with Traefik's default TLS options;
  - prints for each annotated route that lacks the options, and for each other
    route of the same host, the kubectl command that sets them; with --patch it
    asks, and sets them itself;
  - sets spec.isolation of the MemberCluster. From then on usher refuses routes
    without the options. While there are such routes, the command asks first,
    and without an answer does not set the field and ends with an error.

It uses your own kubeconfig. Run it again after a route was annotated: it
changes only what is missing. usher cluster remove takes everything back, but
leaves a TLSOption that a route still refers to.

Traefik drops an IngressRoute that refers to a TLSOption of another namespace,
unless it has providers.kubernetesCRD.allowCrossNamespace: --cross-namespace
says that it has, and all routes then use one TLSOption.`,
		Example: `  usher cluster isolate hades --context hades
  usher cluster isolate hades --context hades --patch
  usher cluster isolate hades --context hades --dry-run=member -o yaml`,
		Args:              oneName,
		ValidArgsFunction: o.members,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return o.isolate(cmd)
		},
	}
	flags := cmd.Flags()
	o.memberFlags(cmd)
	flags.StringVar(&o.Isolation.TLSOptions.Namespace, "options-namespace", "", "`NAMESPACE` of the TLSOption (default: that of spec.isolation, else that of Traefik's Service)")
	flags.StringVar(&o.Isolation.TLSOptions.Name, "options-name", "", "`NAME` of the TLSOption (default: that of spec.isolation, else "+enroll.DefaultOptionsName+")")
	flags.StringSliceVar(&o.Isolation.EntryPoints, "entry-point", nil, "`NAMES` of entry points of Traefik whose static configuration sets http.tls.options to the TLSOption (default: those of spec.isolation)")
	flags.BoolVar(&o.Isolation.CrossNamespace, "cross-namespace", false, "Traefik has providers.kubernetesCRD.allowCrossNamespace: use one TLSOption for all namespaces")
	flags.BoolVar(&o.Isolation.Patch, "patch", false, "set the TLS options of the routes, after asking")
	o.yesFlag(cmd)
	o.dryRunFlags(cmd)
	o.complete(cmd)
	return cmd
}

func (o *clusterOptions) yesFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "answer each question about isolation with yes")
}

func (o *clusterOptions) isolate(cmd *cobra.Command) error {
	if err := o.validateDryRun(); err != nil {
		return err
	}
	if err := o.validate(); err != nil {
		return err
	}
	return o.write(cmd, enroll.Isolate, enroll.PlanIsolation)
}

// ask returns a function that asks the person, unless --yes has answered already.
func (o *clusterOptions) ask(cmd *cobra.Command) func(question string) bool {
	return func(question string) bool { return o.yes || o.confirm(cmd, question) }
}

// confirm asks the person a question on stderr. Without an answer it is no.
func (o *clusterOptions) confirm(cmd *cobra.Command, question string) bool {
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	answer, err := o.answers(cmd).ReadString('\n')
	if err != nil {
		fmt.Fprintln(cmd.ErrOrStderr())
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}
