package doctor

import (
	"cmp"
	"slices"
	"time"

	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
)

// Names of the parameters of a request for an audit.
const (
	// ParamHost is a host to audit; may be given several times. None: all of them.
	ParamHost = "host"
	// ParamFor is how long the audit may take, such as 30s.
	ParamFor = "for"
)

// Finding is one thing that is wrong.
type Finding struct {
	// Kind is a reason of the condition Healthy, such as FrontingLeak.
	Kind string `json:"kind"`
	// Host is the exposed host; empty for a finding about the machine.
	Host string `json:"host,omitempty"`
	// Cluster is the member cluster whose backend was audited; empty for an address
	// outside of all clusters.
	Cluster string `json:"cluster,omitempty"`
	// Evidence is what was observed.
	Evidence string `json:"evidence"`
	// Risk is what can happen because of it.
	Risk string `json:"risk"`
	// Cure are the commands that end it. Words in capital letters are to be replaced.
	Cure []string `json:"cure"`
}

// Report is the result of an audit.
type Report struct {
	// Time at which the audit ended.
	Time time.Time `json:"time"`
	// Hosts is the number of hosts that were to be audited, and Audited of those that were.
	Hosts   int `json:"hosts"`
	Audited int `json:"audited"`
	// Findings are sorted: the most severe first.
	Findings []Finding `json:"findings"`
}

// severity has all kinds, the most severe first.
var severity = []string{
	reason.FrontingLeak, reason.LoopToSelf, reason.ECHBackend, reason.BackendUnreachable, reason.ProxyProtocolMismatch,
	reason.DefaultCertificate, reason.CertificateMismatch, reason.CertificateExpiry, reason.FlexibleLoop,
	reason.CoalescingRisk, reason.ECHInDNS, reason.HairpinNAT, reason.DNSDrift, reason.PortExhaustion,
}

// Kinds returns all kinds of findings, the most severe first.
func Kinds() []string { return slices.Clone(severity) }

// risks explains the kinds.
var risks = map[string]string{ // kind → risk
	reason.FrontingLeak:          "A client that may connect to this host reaches the other hosts too: it sends the name of this one in the TLS handshake, and theirs in the request.",
	reason.LoopToSelf:            "Connections for the host return to usher until it refuses them. The host does not work.",
	reason.ECHBackend:            "A client can hide another host name in an encrypted ClientHello. usher sees the outer name only, and the backend serves the inner one.",
	reason.BackendUnreachable:    "Clients that are sent to this address wait or fail.",
	reason.ProxyProtocolMismatch: "Connections fail, or the apps see the address of the edge in place of the client's.",
	reason.DefaultCertificate:    "Browsers warn, and clients that verify certificates, such as a CDN in mode Full (strict), refuse the host.",
	reason.CertificateMismatch:   "Browsers warn, and clients that verify certificates refuse the host.",
	reason.CertificateExpiry:     "When the certificate has expired, clients refuse the host.",
	reason.FlexibleLoop:          "Behind a CDN that connects by plain HTTP (Cloudflare's mode Flexible), browsers are redirected without an end.",
	reason.CoalescingRisk:        "A browser that is connected to this host sends requests for the other host on the same connection, where they fail at random: the certificate covers both, and both have the edge's address.",
	reason.ECHInDNS:              "Browsers use the keys of the CDN and connect to the edge with its outer name, which usher refuses. The name works with curl and not in browsers.",
	reason.HairpinNAT:            "The host works from elsewhere, and not from this network.",
	reason.DNSDrift:              "Clients are sent elsewhere, or find no address.",
	reason.PortExhaustion:        "When no port is left, new connections to this backend fail.",
}

// found returns a finding about a host at a backend. The parts of evidence may come from
// anywhere.
func (h *Host) found(kind, cluster string, cure []string, evidence string, parts ...any) Finding {
	return Finding{Kind: kind, Host: h.Host, Cluster: cluster, Evidence: message.Format(evidence, parts...), Risk: risks[kind], Cure: cure}
}

// Sort sorts findings, the most severe first, and removes duplicates.
func Sort(findings []Finding) []Finding {
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(slices.Index(severity, a.Kind), slices.Index(severity, b.Kind)),
			cmp.Compare(a.Host, b.Host), cmp.Compare(a.Cluster, b.Cluster), cmp.Compare(a.Evidence, b.Evidence))
	})
	return slices.CompactFunc(findings, func(a, b Finding) bool {
		return a.Kind == b.Kind && a.Host == b.Host && a.Cluster == b.Cluster && a.Evidence == b.Evidence
	})
}
