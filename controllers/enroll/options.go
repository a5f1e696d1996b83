package enroll

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Options say which member is added or removed, and how.
type Options struct {
	// Name of the MemberCluster: a DNS label (RFC 1123), at most 63 characters.
	Name string
	// Namespace of the edge that usher's Secrets are in.
	Namespace string
	// Addresses where the member's ingress answers, IP addresses or DNS names
	// without a port. None: those of Service.
	Addresses []string
	// Service whose load-balancer addresses are followed. The zero value: what the
	// member had before, or else the addresses that Traefik's has now, which is
	// looked for.
	Service types.NamespacedName
	// Server is the URL at which the edge reaches the member's API server. Empty:
	// the one in the kubeconfig.
	Server string
	// Force removes what is at the edge though the member cannot be reached.
	Force bool
	// Timeout bounds the whole call.
	Timeout time.Duration
	// Out is told what is done; nil: nobody.
	Out io.Writer
}

// Validate returns what is wrong with the options; no cluster is asked.
func (o *Options) Validate() error {
	if problems := validation.IsDNS1123Label(o.Name); len(problems) > 0 {
		return fmt.Errorf("name %q: %s", o.Name, strings.Join(problems, "; "))
	}
	for _, address := range o.Addresses {
		if err := checkAddress(address); err != nil {
			return fmt.Errorf("address %q: %w", address, err)
		}
	}
	switch {
	case len(o.Addresses) > 0 && o.Service.Name != "":
		return errors.New("addresses and a service exclude each other")
	case o.Server != "":
		if err := checkServer(o.Server); err != nil {
			return fmt.Errorf("server %q: %w", o.Server, err)
		}
	}
	if o.Timeout <= 0 {
		return fmt.Errorf("timeout %v: it must be more than 0", o.Timeout)
	}
	return nil
}

func checkAddress(address string) error {
	if _, err := netip.ParseAddr(address); err == nil {
		return nil
	}
	if problems := validation.IsDNS1123Subdomain(strings.ToLower(address)); len(problems) > 0 {
		return errors.New("it must be an IP address or a DNS name, without a port")
	}
	return nil
}

// say tells a line.
func (o *Options) say(format string, args ...any) {
	if o.Out != nil {
		_, _ = fmt.Fprintf(o.Out, format+"\n", args...)
	}
}
