package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

const runExamples = `  # in a pod of the edge cluster, as the chart does
  usher run

  # on a machine beside the edge cluster, for a person at a terminal
  usher run --kubeconfig /etc/rancher/k3s/k3s.yaml --log-format text

  # on a machine without Kubernetes
  usher run --standalone /var/lib/usher

  # the proxy alone, from files instead of an API server
  usher run --controllers=false --manifests /etc/usher/manifests --state-dir /var/lib/usher

  # behind a load balancer that sends PROXY headers, on one address
  usher run --https-listen 192.0.2.1:443 --http-listen 192.0.2.1:80 --proxy-protocol-from 10.0.0.0/8`

// A flagGroup is a part of the flags in the help of a command.
type flagGroup struct {
	title string
	names string // of its flags, in the order of the help
}

// runGroups are the groups of the flags of usher run.
var runGroups = []flagGroup{
	{"Edge cluster", "kubeconfig standalone api-listen api-host namespace controllers proxy leader-elect handover-grace doctor"},
	{"DNS records", "dns-target dns-internal-target dns-ttl dns-property dns-resolver"},
	{"Files", "manifests state-dir history-age history-size"},
	{"Listeners", "https-listen tls-listen http-listen admin-listen admin-host admin-auth proxy-protocol-from self-check service"},
	{"Limits", "max-connections max-connections-per-client max-hello-memory max-source-hosts max-member-hosts"},
	{"Timeouts", "hello-timeout dial-timeout idle-timeout half-closed-timeout drain-timeout"},
	{"Logs", "log-level log-format access-log access-log-refused"},
}

// groupFlags makes the help of a command list its flags in groups. Those in no group come last.
func groupFlags(cmd *cobra.Command, groups []flagGroup) {
	cmd.SetUsageFunc(func(cmd *cobra.Command) error {
		var text strings.Builder
		fmt.Fprintf(&text, "Usage:\n  %s\n\nExamples:\n%s\n", cmd.UseLine(), cmd.Example)
		width := helpWidth()
		for _, group := range groups {
			flags := pflag.NewFlagSet(group.title, pflag.ContinueOnError)
			flags.SortFlags = false
			for name := range strings.FieldsSeq(group.names) {
				flags.AddFlag(cmd.Flags().Lookup(name))
			}
			fmt.Fprintf(&text, "\n%s:\n%s", group.title, flags.FlagUsagesWrapped(width))
		}
		rest := pflag.NewFlagSet("", pflag.ContinueOnError)
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !grouped(groups, f.Name) {
				rest.AddFlag(f)
			}
		})
		fmt.Fprintf(&text, "\nOther:\n%s", rest.FlagUsagesWrapped(width))
		_, err := fmt.Fprint(cmd.OutOrStderr(), text.String())
		return err
	})
}

func grouped(groups []flagGroup, name string) bool {
	for _, group := range groups {
		if slices.Contains(strings.Fields(group.names), name) {
			return true
		}
	}
	return false
}

// helpWidth returns the width of the terminal, or 0 if there is none: lines are not wrapped.
func helpWidth() int {
	width, _, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		return 0
	}
	return width
}
