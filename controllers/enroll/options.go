package enroll

import (
	"fmt"
	"io"
	"net/netip"
	"regexp"
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

// Validate checks the options without a request to a cluster. Its errors name the flags.
func (o *Options) Validate() error {
	if err := CheckName(o.Name); err != nil {
		return fmt.Errorf("NAME: %w", err)
	}
	if o.Namespace != "" {
		if err := CheckName(o.Namespace); err != nil {
			return fmt.Errorf("--namespace: %w", err)
		}
	}
	for _, address := range o.Addresses {
		if err := checkAddress(address); err != nil {
			return fmt.Errorf("--address: %w", err)
		}
	}
	if o.Server != "" {
		if err := checkServer(o.Server); err != nil {
			return fmt.Errorf("--server: %q %w; write it as https://192.168.1.20:6443", o.Server, err)
		}
	}
	if err := o.Isolation.validate(); err != nil {
		return err
	}
	if o.Timeout <= 0 {
		return fmt.Errorf("--timeout: %v is not a positive duration, such as 2m", o.Timeout)
	}
	return nil
}

// CheckName returns an error unless name is a DNS label (RFC 1123), as MemberClusters and
// namespaces have as their names. The error quotes the name.
func CheckName(name string) error {
	if len(validation.IsDNS1123Label(name)) == 0 {
		return nil
	}
	example := notInLabels.ReplaceAllString(strings.ToLower(name), "-")
	if len(validation.IsDNS1123Label(example)) > 0 {
		example = "hades-2"
	}
	return fmt.Errorf("%q is not a valid name: it has 1 to %d lower-case letters, digits and hyphens, with a letter or digit at each end, such as %s",
		name, validation.DNS1123LabelMaxLength, example)
}

// notInLabels matches characters that a DNS label cannot have.
var notInLabels = regexp.MustCompile(`[^a-z0-9-]+`)

// dnsName matches a DNS name as the CustomResourceDefinition of MemberCluster does. An
// address with a wrong number, such as 192.168.1.300, is none.
var dnsName = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)

func checkAddress(address string) error {
	if _, err := netip.ParseAddr(address); err == nil || dnsName.MatchString(address) {
		return nil
	}
	return fmt.Errorf("%q is neither an IP address nor a DNS name: give it without a scheme or a port, such as 192.168.1.10, and repeat the flag for each one", address)
}

// report writes a line to Out.
func (o *Options) report(format string, args ...any) {
	if o.Out != nil {
		_, _ = fmt.Fprintf(o.Out, format+"\n", args...)
	}
}
