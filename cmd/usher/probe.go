package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	// unpublished is a host that nobody publishes: names under .invalid never exist
	// (RFC 6761, section 6.4), and no wildcard is likely to match it.
	unpublished = "unpublished.probe.usher.invalid"

	// probeTimeout is the time that one address may take.
	probeTimeout = 5 * time.Second
)

func probeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "probe HOST:PORT...",
		Short: "Check that TLS connections to an address reach usher",
		Long: `Probe connects to each address and asks for a host that nobody publishes. usher
refuses it by the TLS alert unrecognized_name, and shows no certificate. The exit
code is 1 if an address does anything else, such as to show a certificate: then
connections reach another program.`,
		Example:           `  usher probe 192.168.1.2:443 [2001:db8::2]:443`,
		Args:              addressesToProbe,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			var errs []error
			for _, address := range args {
				if err := probe(cmd.Context(), address); err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", address, err))
					continue
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: refuses a host that is not published, as usher does\n", address); err != nil {
					return err
				}
			}
			return errors.Join(errs...)
		},
	}
}

// addressesToProbe requires one or more addresses with a host and a port.
func addressesToProbe(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usage("HOST:PORT is missing: give the address to connect to, such as 192.168.1.2:443")
	}
	for _, address := range args {
		if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
			return usage("%q is no address: write HOST:PORT, such as 192.168.1.2:443 or [2001:db8::2]:443", address)
		}
	}
	return nil
}

// probe returns an error if an address does not refuse the unpublished host as usher does.
func probe(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	dialer := tls.Dialer{Config: &tls.Config{ServerName: unpublished}}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err == nil {
		_ = conn.Close()
		return errors.New("accepts a host that is not published: another program than usher answers")
	}
	if shown, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("shows the certificate %q for a host that is not published: another program than usher answers", shown.UnverifiedCertificates[0].Subject.CommonName)
	}
	if strings.HasSuffix(err.Error(), "remote error: tls: unrecognized name") { // the type of an alert is not exported
		return nil
	}
	return err
}
