package dnsrecord

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/jovalle/usher/controllers/message"
)

// Answer is what a resolver says about a host.
type Answer struct {
	Addrs  []netip.Addr // of the host; empty if it has none
	Target []netip.Addr // of the name that is the target of its CNAME record
}

// Drift compares an answer with the public records. It returns what differs; empty if
// nothing does.
func (r Records) Drift(answer Answer) string {
	switch {
	case len(answer.Addrs) == 0:
		return "the name has no address"
	case r.Proxied():
		return "" // the addresses are those of Cloudflare
	case r.CNAME() != "" && len(answer.Target) == 0:
		return message.Format("the target %s has no address", r.CNAME())
	}
	wanted := slices.Clone(answer.Target)
	for _, set := range r.Sets {
		for _, target := range set.Targets {
			if addr, err := netip.ParseAddr(target); err == nil {
				wanted = append(wanted, addr)
			}
		}
	}
	other := slices.DeleteFunc(slices.Clone(answer.Addrs), func(a netip.Addr) bool { return slices.Contains(wanted, a) })
	missing := slices.DeleteFunc(slices.Clone(wanted), func(a netip.Addr) bool { return slices.Contains(answer.Addrs, a) })
	if len(other) == 0 && len(missing) == 0 {
		return ""
	}
	return message.Format("the name leads to %s instead of %s", list(answer.Addrs), list(wanted))
}

// CNAME returns the target of a CNAME record; empty if there is none.
func (r Records) CNAME() string {
	for _, set := range r.Sets {
		if set.Type == typeCNAME {
			return set.Targets[0]
		}
	}
	return ""
}

// list formats addresses, sorted.
func list(addrs []netip.Addr) string {
	var texts []string
	for _, addr := range slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare) {
		texts = append(texts, addr.String())
	}
	return strings.Join(texts, ", ")
}
