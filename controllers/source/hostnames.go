package source

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source/traefikrule"
	"github.com/jovalle/usher/proxy/routing"
)

// hostSet is the set of hosts for which some request matches a route. It comes from a
// Traefik rule or from a list of hostnames.
type hostSet interface {
	// List returns the hosts; false if they cannot be listed.
	List() ([]string, bool)
	// Covers reports whether the set holds a host, or all that a wildcard covers. The
	// fuel limits the work of deciding this for regular expressions.
	Covers(host string, fuel *traefikrule.Fuel) bool
	// String describes the set in a message.
	String() string
}

// hostnames are host names and wildcards as Kubernetes' own APIs write them. An
// empty list is every host.
type hostnames struct {
	list []string
	deep bool // a wildcard covers any number of labels, not one
}

// List returns the names. A deep wildcard is listed as the one-label wildcard that can be
// published.
func (h hostnames) List() ([]string, bool) { return h.list, len(h.list) > 0 }

// Covers implements hostSet.
func (h hostnames) Covers(host string, _ *traefikrule.Fuel) bool {
	return len(h.list) == 0 || slices.ContainsFunc(h.list, func(pattern string) bool {
		return covers(pattern, host, h.deep)
	})
}

// covers reports whether the pattern covers the host; for a wildcard, all names that it
// covers. A deep wildcard covers any number of labels, other wildcards cover one.
func covers(pattern, host string, deep bool) bool {
	suffix, wildcard := strings.CutPrefix(pattern, "*")
	if !wildcard || pattern == host {
		return pattern == host
	}
	labels, under := strings.CutSuffix(host, suffix)
	return under && (deep || !strings.Contains(labels, "."))
}

func (h hostnames) String() string {
	if len(h.list) == 0 {
		return "every host"
	}
	return strings.Join(h.list, ", ")
}

// maxSpelling limits the length of a host's spelling, in bytes. A name has at most 253
// bytes, and each of its characters before IDNA may have several.
const maxSpelling = 1024

// parseHost parses a host in any spelling.
func parseHost(s string) (string, error) {
	if s == "" {
		return "", errNoHost
	}
	if len(s) > maxSpelling {
		return "", fmt.Errorf("host %s: is too long", message.Quote(s))
	}
	host, err := routing.ParseHost(s)
	if err != nil {
		return "", err
	}
	return host, checkObjectName(host)
}

// checkSpelling accepts only the spelling of a host that a TLS client sends: ingress
// controllers compare the names in their rules literally.
func checkSpelling(s string) error {
	switch host, err := parseHost(s); {
	case err != nil:
		return err
	case host != s:
		return fmt.Errorf("host %s: clients send %s", message.Quote(s), message.Quote(host))
	}
	return nil
}

// checkObjectName refuses hosts that cannot be the name of an ExposedHost: it must be a
// DNS subdomain of RFC 1123.
func checkObjectName(host string) error {
	name := v1alpha1.NameOfHost(host)
	switch {
	case strings.Contains(host, "_"):
		return fmt.Errorf("host %s: has an underscore, which the name of a Kubernetes object cannot have", message.Quote(host))
	case v1alpha1.HostOfName(name) != host:
		return fmt.Errorf("host %s: the first label 'wildcard' is reserved: it stands for '*' in the names of ExposedHosts", message.Quote(host))
	case len(name) > validation.DNS1123SubdomainMaxLength:
		return fmt.Errorf("host %s: is too long for the name of its ExposedHost, with 'wildcard' for '*'", message.Quote(host))
	}
	return nil
}
