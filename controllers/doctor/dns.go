package doctor

import (
	"context"
	"net/netip"
	"slices"

	"github.com/jovalle/usher/api/v1alpha1/reason"
)

// DNSAnswer is what a resolver says about a name.
type DNSAnswer struct {
	Addrs []netip.Addr
	// ECH means that its record of type HTTPS has keys for an encrypted ClientHello.
	ECH bool
}

// ask asks the resolver of this network for a host. A resolver that does not answer says
// nothing about the host.
func (d *Doctor) ask(ctx context.Context, h *Host) DNSAnswer {
	if d.Inside == nil {
		return DNSAnswer{}
	}
	answer, err := d.Inside(ctx, h.asked())
	if err != nil {
		return DNSAnswer{}
	}
	return answer
}

// dns audits what DNS says about a host.
func (d *Doctor) dns(h *Host, answer DNSAnswer) (findings []Finding) {
	if h.Drift != "" {
		findings = append(findings, h.found(reason.DNSDrift, "", []string{"kubectl describe exposedhost " + h.Name, "usher dns -o zone"}, "%s", h.Drift))
	}
	if h.PlainOnly || !answer.ECH || len(answer.Addrs) == 0 || slices.ContainsFunc(answer.Addrs, d.outside) {
		return findings
	}
	return append(findings, h.found(reason.ECHInDNS, "", []string{
		"dig " + h.asked() + " HTTPS   # should have no answer inside",
		"echo 'filter-rr=HTTPS' >> /etc/dnsmasq.conf && systemctl restart dnsmasq   # or as docs/dns.md says for other resolvers",
	}, "the resolver of this network answers %s with %s, an address of the edge, and with keys for ECH in type HTTPS, which another server has", h.asked(), answer.Addrs[0]))
}

// outside reports whether an address may be that of a CDN: it is neither private nor one
// of the edge's own.
func (d *Doctor) outside(addr netip.Addr) bool {
	return !addr.IsPrivate() && (d.Direct == nil || !d.Direct(addr))
}
