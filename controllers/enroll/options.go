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

// Options are the parameters of Add, Plan and Remove.
type Options struct {
	// Name of the MemberCluster: a DNS label (RFC 1123), at most 63 characters.
	Name string
	// Namespace of usher's Secrets in the edge cluster.
	Namespace string
	// Addresses of the member's ingress: IP addresses or DNS names without a port.
	// Empty: those of Service.
	Addresses []string
	// Service is the Service of the member's Traefik. Without Addresses, usher follows
	// its load-balancer addresses. The zero value: the ingress of an existing member is
	// kept; for a new one, Traefik's Service is searched for, and its current addresses
	// are pinned.
	Service types.NamespacedName
	// Choose asks the person to choose one of several Services, and returns its index in
	// choices; a negative one is no answer. Nil: there is nobody to ask.
	Choose func(question string, choices []string) int
	// Server is the URL of the member's API server as the edge cluster reaches it.
	// Empty: the one in the kubeconfig.
	Server string
	// Isolate has Add isolate the member too, as the function Isolate does.
	Isolate bool
	// Isolation has the parameters of isolation.
	Isolation IsolateOptions
	// Force deletes the objects in the edge cluster even if the member cannot be reached.
	Force bool
	// Timeout bounds the whole call; of Add and Isolate, what they do before, between and
	// after the questions to the person.
	Timeout time.Duration
	// Out receives a line for each step; nil: none is written.
	Out io.Writer
}

// Validate checks the options without a request to a cluster.
func (o *Options) Validate() error {
	if problems := validation.IsDNS1123Label(o.Name); len(problems) > 0 {
		return fmt.Errorf("name %q: %s", o.Name, strings.Join(problems, "; "))
	}
	for _, address := range o.Addresses {
		if err := checkAddress(address); err != nil {
			return fmt.Errorf("address %q: %w", address, err)
		}
	}
	if o.Server != "" {
		if err := checkServer(o.Server); err != nil {
			return fmt.Errorf("server %q: %w", o.Server, err)
		}
	}
	if err := o.Isolation.validate(); err != nil {
		return err
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

// report writes a line to Out.
func (o *Options) report(format string, args ...any) {
	if o.Out != nil {
		_, _ = fmt.Fprintf(o.Out, format+"\n", args...)
	}
}
