package source

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/proxy/routing"
)

// hostSet is the hosts for which some request matches a route: those of a
// Traefik rule, or of a list of hostnames.
type hostSet interface {
	// List returns the hosts, or false where they cannot be listed.
	List() ([]string, bool)
	// Covers reports whether the set holds a host, or all that a wildcard covers.
	Covers(host string) bool
	// String describes the set for a person.
	String() string
}

// hostnames are host names and wildcards as Kubernetes' own APIs write them. An
// empty list is every host.
type hostnames struct {
	list []string
	deep bool // a wildcard covers any number of labels, not one
}

// List returns the names. Of a deep wildcard it names what can be published: one
// label.
func (h hostnames) List() ([]string, bool) { return h.list, len(h.list) > 0 }

// Covers implements hostSet.
func (h hostnames) Covers(host string) bool {
	return len(h.list) == 0 || slices.ContainsFunc(h.list, func(pattern string) bool {
		return covers(pattern, host, h.deep)
	})
}

// covers reports whether all that the host stands for is covered by the pattern. A
// deep wildcard covers any number of labels, another one.
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

// maxSpelling bounds what is read as a host, in bytes: a name has 253, and its
// characters before IDNA may have several bytes each.
const maxSpelling = 1024

// parseHost reads a host that a person wrote, in any spelling.
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

// checkSpelling accepts only the one spelling of a host that a TLS client sends:
// ingress controllers compare what stands in their rules literally.
func checkSpelling(s string) error {
	switch host, err := parseHost(s); {
	case err != nil:
		return err
	case host != s:
		return fmt.Errorf("host %s: clients send %s", message.Quote(s), message.Quote(host))
	}
	return nil
}

// checkObjectName refuses hosts that no ExposedHost can be named after: its name is a
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
