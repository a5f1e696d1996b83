package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/jovalle/usher/proxy/knocks"
	"github.com/jovalle/usher/proxy/routing"
)

const (
	// maxKnocks is how many names usher knocks lists.
	maxKnocks = 200

	// defaultAdmin is the URL of the admin listener at its default address.
	defaultAdmin = "http://127.0.0.1:8080"

	adminTimeout   = 30 * time.Second
	maxAdminAnswer = 64 << 20 // in bytes
)

func adminFlag(cmd *cobra.Command, value *string) {
	cmd.Flags().StringVar(value, "admin", defaultAdmin, "`URL` of the admin listener of usher")
}

// checkAdmin returns an error if a value is no URL of an admin listener.
func checkAdmin(value string) error {
	parsed, err := url.Parse(value)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		return badFlag("admin", "%q is no URL: write it as http://127.0.0.1:8080", value)
	}
	return nil
}

// fromAdmin asks the admin listener of usher for a value.
func fromAdmin(ctx context.Context, admin, path string, query url.Values, value any) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(admin, "/")+path+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return flagError("admin", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask usher: %w; usher in a cluster is reached by kubectl -n usher-system port-forward deployment/usher 8080", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAdminAnswer))
	switch {
	case err != nil:
		return fmt.Errorf("ask usher: %w", err)
	case response.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s has no %s: it is another program, an older usher, or one that runs without the proxy or with --history-size=0", admin, path)
	case response.StatusCode != http.StatusOK:
		return errors.New(strings.TrimSpace(string(body)))
	}
	if err := json.Unmarshal(body, value); err != nil {
		return fmt.Errorf("%s%s: %w", admin, path, err)
	}
	return nil
}

func knocksCommand() *cobra.Command {
	var format, admin string
	cmd := &cobra.Command{
		Use:   "knocks",
		Short: "List the names that clients asked for and were refused",
		Long: `Knocks lists the host names that clients have asked usher for and were refused, since
usher started: at most 200, those that were asked for most often and the latest ones.
NETWORKS are the networks of the latest clients. The last line is for all requests
without a valid host name. SERVED BY names the member clusters that serve the name
although no object with the annotation publishes it.`,
		Example: `  usher knocks
  kubectl -n usher-system port-forward deployment/usher 8080 & usher knocks -o json`,
		Args:              noArguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(oneOf("output", format, valueFormats...), checkAdmin(admin)); err != nil {
				return err
			}
			var all []knocks.Knock
			if err := fromAdmin(cmd.Context(), admin, "/knocks", nil, &all); err != nil {
				return err
			}
			if format != "" {
				return printValue(cmd.OutOrStdout(), all, format)
			}
			return printKnocks(cmd.OutOrStdout(), all)
		},
	}
	adminFlag(cmd, &admin)
	outputFlag(cmd, &format, "a table", valueFormats...)
	complete(cmd, nil)
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
