package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/controllers/dnsrecord"
	"github.com/jovalle/usher/controllers/manifest"
)

// dnsFlags are the flags that say which DNS records are wanted.
type dnsFlags struct {
	target, internalTarget []string
	ttl                    int
	properties             []string
}

func (d *dnsFlags) addTo(flags *pflag.FlagSet) {
	flags.StringSliceVar(&d.target, "dns-target", nil, "`ADDRESSES` of the edge on the internet, or one name that leads there: where the public DNS records of the hosts lead (default: no records)")
	flags.StringSliceVar(&d.internalTarget, "dns-internal-target", nil, "`ADDRESSES` or name for the DNS records of clients inside of the network (default: no records)")
	flags.IntVar(&d.ttl, "dns-ttl", 0, "TTL of the DNS records in `SECONDS`; 0: the default of the DNS provider")
	flags.StringArrayVar(&d.properties, "dns-property", nil, "`NAME=VALUE` of a provider-specific property of external-dns for the public records, such as "+dnsrecord.PropertyCloudflareProxied+"=true; may be given several times")
}

// config parses the flags. Its error names every mistake.
func (d *dnsFlags) config() (dnsrecord.Config, error) {
	var c dnsrecord.Config
	var errs []error
	read := func(flag string, err error, values ...string) {
		if err != nil {
			errs = append(errs, badFlag(flag, "%w%s", err, severalHint(values...)))
		}
	}
	var err error
	c.Public, err = dnsrecord.ParseTarget(d.target)
	read("dns-target", err, d.target...)
	c.Internal, err = dnsrecord.ParseTarget(d.internalTarget)
	read("dns-internal-target", err, d.internalTarget...)
	c.Properties, err = dnsrecord.ParseProperties(d.properties)
	read("dns-property", err)
	err = dnsrecord.CheckTTL(d.ttl)
	read("dns-ttl", err)
	c.TTL = int32(d.ttl) //nolint:gosec // G115: CheckTTL bounds it
	if len(errs) == 0 && c.Off() && (d.ttl != 0 || len(d.properties) > 0) {
		errs = append(errs, usage("--dns-ttl and --dns-property are for records, and without a target there are none: give --dns-target or --dns-internal-target"))
	}
	return c, errors.Join(errs...)
}

// formatZone is a fragment of a zone file.
const formatZone = "zone"

// dnsOptions are the flags of usher dns.
type dnsOptions struct {
	clusterOptions
	dns       dnsFlags
	manifests string
	view      string
}

func dnsCommand() *cobra.Command {
	o := dnsOptions{}
	cmd := &cobra.Command{
		Use:   "dns",
		Short: "Print the DNS records of the published hosts",
		Long: `Print the DNS records that the published hosts need: those of the ExposedHosts that the
edge cluster accepts, or of the ExposedHosts in the files of --manifests. Give the same
targets as usher run. With -o zone the output is a fragment of a zone file (RFC 1035) with
absolute names, for $INCLUDE.`,
		Example: `  usher dns --dns-target 203.0.113.7
  usher dns -o json --dns-target home.example.net --dns-internal-target 192.168.1.2 --view Internal
  usher dns --manifests /etc/usher/manifests --dns-target 203.0.113.7 --dns-ttl 300 > /etc/bind/usher.zone`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			quiet()
			return o.print(cmd)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&o.output, "output", "o", formatZone, "`FORMAT` of the output: zone or json")
	flags.StringVar(&o.view, "view", string(v1alpha1.DNSPublic), "`VIEW` that is printed: Public for the internet, Internal for clients inside of the network")
	flags.StringVar(&o.manifests, "manifests", "", "`DIR` of the manifests of usher run --manifests (default: the edge cluster is read)")
	o.dns.addTo(flags)
	o.edgeFlags(cmd)
	flags.DurationVar(&o.Timeout, "timeout", defaultClusterTimeout, "time limit of the whole command")
	complete(cmd, map[string]cobra.CompletionFunc{
		"output": oneOfThese(formatZone, formatJSON), "view": oneOfThese(viewNames()...), "edge-context": contexts(o.edgeSource),
	})
	return cmd
}

func viewNames() []string {
	var names []string
	for _, view := range dnsrecord.Views {
		names = append(names, string(view))
	}
	return names
}

// print prints the records.
func (o *dnsOptions) print(cmd *cobra.Command) error {
	config, err := o.dns.config()
	err = errors.Join(err, oneOf("output", o.output, formatZone, formatJSON), oneOf("view", o.view, viewNames()...))
	if err == nil && o.manifests != "" && (o.edgeKubeconfig != "" || o.edgeContext != "") {
		err = badFlag("manifests", "the hosts are read either from files or from the edge cluster: remove --edge-kubeconfig and --edge-context")
	}
	view := v1alpha1.DNSView(o.view)
	if err == nil && config.Targetless(view) {
		flag := "dns-target"
		if view == v1alpha1.DNSInternal {
			flag = "dns-internal-target"
		}
		err = badFlag(flag, "without a target there are no records: give the addresses or the name that usher run has")
	}
	if err != nil {
		return &usageError{err}
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), o.Timeout)
	defer cancel()
	hosts, err := o.hosts(ctx)
	if err != nil {
		return err
	}
	records := recordsOf(cmd, config, view, hosts)
	if o.output == formatJSON {
		return printValue(cmd.OutOrStdout(), dnsList(records), formatJSON)
	}
	return dnsrecord.WriteZone(cmd.OutOrStdout(), records)
}

// hosts returns the published hosts.
func (o *dnsOptions) hosts(ctx context.Context) ([]v1alpha1.ExposedHost, error) {
	if o.manifests != "" {
		if err := checkDirectory(o.manifests); err != nil {
			return nil, flagError("manifests", err)
		}
		return manifest.Hosts(ctx, o.manifests)
	}
	source, failure := o.edgeSource().Load()
	if failure != nil {
		return nil, &usageError{failure}
	}
	edge, err := client.New(source.REST, client.Options{Scheme: controllers.Scheme()})
	if err != nil {
		return nil, source.Failure(err)
	}
	var list v1alpha1.ExposedHostList
	if err := edge.List(ctx, &list); err != nil {
		return nil, source.Failure(fmt.Errorf("list ExposedHosts: %w", err))
	}
	return slices.DeleteFunc(list.Items, func(eh v1alpha1.ExposedHost) bool {
		return !meta.IsStatusConditionTrue(eh.Status.Conditions, v1alpha1.ConditionAccepted)
	}), nil
}

// recordsOf returns the records of hosts, by host. Hosts that can have none are named on the
// standard error.
func recordsOf(cmd *cobra.Command, config dnsrecord.Config, view v1alpha1.DNSView, hosts []v1alpha1.ExposedHost) []dnsrecord.Records {
	var all []dnsrecord.Records
	for _, eh := range hosts {
		records, err := config.Wanted(view, eh.Spec.Host, eh.Spec.DNS)
		if err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "usher: %s has no record: %v\n", eh.Spec.Host, err)
		}
		if len(records.Sets) > 0 {
			all = append(all, records)
		}
	}
	slices.SortFunc(all, func(a, b dnsrecord.Records) int { return strings.Compare(a.Host, b.Host) })
	return all
}

// dnsHost is a host with its records, as JSON.
type dnsHost struct {
	Host       string               `json:"host"`
	Records    []v1alpha1.DNSRecord `json:"records"`
	Properties map[string]string    `json:"properties,omitempty"` // provider-specific, of external-dns
}

func dnsList(all []dnsrecord.Records) []dnsHost {
	hosts := []dnsHost{} // not null in JSON
	for _, records := range all {
		host := dnsHost{Host: records.Host, Records: records.Status()}
		for _, p := range records.Properties {
			if host.Properties == nil {
				host.Properties = map[string]string{}
			}
			host.Properties[p.Name] = p.Value
		}
		hosts = append(hosts, host)
	}
	return hosts
}
