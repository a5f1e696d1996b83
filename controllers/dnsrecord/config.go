package dnsrecord

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/proxy/routing"
)

// Limits of the configuration. They keep a DNSEndpoint and a status small.
const (
	maxTargets    = 16
	maxProperties = 32
	maxProperty   = 1024 // bytes of the name and of the value of a property
)

// PropertyCloudflareProxied is the provider-specific property of external-dns for
// Cloudflare's proxy.
const PropertyCloudflareProxied = "external-dns.alpha.kubernetes.io/cloudflare-proxied"

// Config is what the command line says about DNS records. The zero value wants none.
type Config struct {
	Public   Target // where names lead on the internet; empty: no records
	Internal Target // where names lead inside of the network; empty: no records
	// TTL of the records in seconds; 0 for the default of the DNS provider.
	TTL int32
	// Properties are external-dns's provider-specific properties of the public records.
	Properties []Property
}

// Off reports whether no records are wanted at all.
func (c Config) Off() bool { return c.Public.empty() && c.Internal.empty() }

// target returns the target of a view.
func (c Config) target(view v1alpha1.DNSView) Target {
	if view == v1alpha1.DNSInternal {
		return c.Internal
	}
	return c.Public
}

// Direct reports whether an address is one of the edge's, in any view.
func (c Config) Direct(addr netip.Addr) bool {
	text := addr.Unmap().String()
	for _, target := range []Target{c.Public, c.Internal} {
		if slices.Contains(target.v4, text) || slices.Contains(target.v6, text) {
			return true
		}
	}
	return false
}

// Target is where the names of a view lead: addresses or one name.
type Target struct {
	v4, v6 []string // canonical, sorted, without duplicates
	name   string   // canonical, without a trailing dot
}

func (t Target) empty() bool { return len(t.v4) == 0 && len(t.v6) == 0 && t.name == "" }

// ParseTarget parses addresses or one name. Without values it returns the empty target.
func ParseTarget(values []string) (Target, error) {
	var t Target
	if len(values) > maxTargets {
		return t, fmt.Errorf("there are %d targets, and at most %d may be given", len(values), maxTargets)
	}
	for _, value := range values {
		var err error
		if t, err = t.with(value); err != nil {
			return Target{}, err
		}
	}
	if t.name != "" && len(values) > 1 {
		return Target{}, fmt.Errorf("%q is a name, and a CNAME record has one name and no address: give one name or addresses", t.name)
	}
	for _, list := range []*[]string{&t.v4, &t.v6} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return t, nil
}

// with returns the target with one more address, or with a name.
func (t Target) with(value string) (Target, error) {
	addr, err := netip.ParseAddr(value)
	if err != nil {
		name, err := routing.ParseHost(value)
		if err == nil && strings.HasPrefix(name, "*.") {
			err = errors.New("a wildcard is no target")
		}
		if err != nil {
			return t, fmt.Errorf("%q is neither an address, such as 203.0.113.7 or 2001:db8::7, nor a name, such as home.example.net: %w", value, err)
		}
		t.name = name
		return t, nil
	}
	switch {
	case addr.Zone() != "" || addr.Is4In6() || addr.IsUnspecified() || addr.IsMulticast():
		return t, fmt.Errorf("%q is no address that a client can connect to: write a unicast address without a zone", value)
	case addr.Is4():
		t.v4 = append(t.v4, addr.String())
	default:
		t.v6 = append(t.v6, addr.String())
	}
	return t, nil
}

// Property is a provider-specific property of external-dns.
type Property struct{ Name, Value string }

// ParseProperties parses properties, each as NAME=VALUE, and sorts them by name.
func ParseProperties(values []string) ([]Property, error) {
	if len(values) > maxProperties {
		return nil, fmt.Errorf("there are %d properties, and at most %d may be given", len(values), maxProperties)
	}
	var properties []Property
	for _, written := range values {
		name, value, found := strings.Cut(written, "=")
		unprintable := func(r rune) bool { return r < ' ' || r > '~' }
		switch {
		case !found || name == "":
			return nil, fmt.Errorf("%s: write NAME=VALUE, such as %s=true", message.Quote(written), PropertyCloudflareProxied)
		case len(written) > maxProperty || strings.ContainsFunc(written, unprintable):
			return nil, fmt.Errorf("%s: a property has at most %d printable ASCII characters", message.Quote(written), maxProperty)
		case slices.ContainsFunc(properties, func(p Property) bool { return p.Name == name }):
			return nil, fmt.Errorf("%s is given twice", message.Quote(name))
		}
		properties = append(properties, Property{name, value})
	}
	slices.SortFunc(properties, func(a, b Property) int { return strings.Compare(a.Name, b.Name) })
	return properties, nil
}

// CheckTTL returns an error for a TTL, in seconds, that no record may have. 0 stands for
// the default of the DNS provider.
func CheckTTL(seconds int) error {
	if seconds < 0 || seconds > v1alpha1.MaxDNSTTL {
		return fmt.Errorf("%d is not a number of seconds from 1 to %d, such as 300, or 0 for the default of the DNS provider", seconds, v1alpha1.MaxDNSTTL)
	}
	return nil
}

// Targetless reports whether a view has no target, and so no records.
func (c Config) Targetless(view v1alpha1.DNSView) bool { return c.target(view).empty() }
