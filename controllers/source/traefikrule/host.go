package traefikrule

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/jovalle/usher/controllers/message"
)

// ascii refuses hosts that are not ASCII, as Traefik does.
func ascii(value string) error {
	for i := range len(value) {
		if value[i] > unicode.MaxASCII {
			return fmt.Errorf("invalid value %s: non-ASCII characters are not allowed; write the name's xn-- form", message.Quote(value))
		}
	}
	return nil
}

func badHost(value string) error {
	return fmt.Errorf("invalid value %s: not a host name", message.Quote(value))
}

// hostOrWildcard matches one host. If value begins with "*.", it matches the hosts
// directly under the rest of it.
func (r *reading) hostOrWildcard(value string) expr {
	if parent, wildcard := strings.CutPrefix(value, "*."); wildcard {
		return hostsUnder(r.parent(parent))
	}
	return oneHost(r.name(value))
}

// manyHosts matches the hosts with the given names. A wildcard is not expanded.
func (r *reading) manyHosts(values []string) expr {
	names := make(map[string]bool, len(values))
	for _, value := range values {
		names[r.name(value)] = true
	}
	delete(names, "")
	return someHosts(names)
}

// name records a host that the rule mentions, and returns its canonical form.
func (r *reading) name(host string) string {
	host = canonical(host)
	if host != "" && !r.names[host] {
		r.names[host] = true
		r.bytes += len(host)
	}
	return host
}

// parent records the parent of a wildcard that the rule mentions, and returns its
// canonical form.
func (r *reading) parent(host string) string {
	host = canonical(host)
	if host != "" {
		r.parents[host] = true
	}
	return host
}

// canonical returns a host of a rule in the form that Traefik compares. It is empty if
// no host name can have this form: it has a '*' or a second trailing dot, or is longer
// than a host name.
func canonical(host string) string {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if len(host) > maxName || strings.HasSuffix(host, ".") || strings.Contains(host, "*") {
		return ""
	}
	return host
}
