package v1alpha1

// The annotations of a source in a member cluster.
const (
	// AnnotationExpose publishes the object's hosts when its value is exactly
	// "true". Any other value, and no annotation, does not publish them.
	AnnotationExpose = "usher.techn.is/expose"

	// AnnotationHosts is a comma-separated list of hosts: only these are published.
	// An object whose rules do not name their hosts needs it.
	AnnotationHosts = "usher.techn.is/hosts"

	// AnnotationPlainHTTP is what port 80 does for the object's hosts:
	// "redirect", "forward" or "deny".
	AnnotationPlainHTTP = "usher.techn.is/plain-http"

	// AnnotationAllowFrom is a comma-separated list of CIDRs and names of NetworkLists of
	// the edge, such as "@family": the clients that may connect.
	AnnotationAllowFrom = "usher.techn.is/allow-from"

	// AnnotationPorts is a comma-separated list of the names of the edge's TLS ports on
	// which the object's hosts are served, such as "https, mqtts". Without it, that is
	// https alone.
	AnnotationPorts = "usher.techn.is/ports"

	// AnnotationWildcard, with the value "all", makes a wildcard of the object publish
	// every name under it, including names of other objects of its cluster that are
	// not annotated. Without it, those names are refused.
	AnnotationWildcard = "usher.techn.is/wildcard"

	// AnnotationShareBelow, with the value "true", lets other clusters publish names
	// under a wildcard of the object. Without it, and with "false", only the cluster
	// that holds the wildcard may publish them.
	AnnotationShareBelow = "usher.techn.is/share-below"

	// AnnotationShare, with the value "true", shares the object's hosts with other
	// clusters whose objects share them too: all of them are backends of the host.
	AnnotationShare = "usher.techn.is/share"

	// AnnotationStrategy is how connections are spread over the addresses of the host:
	// a value of Strategy. That of the cluster that holds the host counts.
	AnnotationStrategy = "usher.techn.is/strategy"

	// AnnotationWeight is the weight of the object's cluster among the backends of the
	// host: 0 to 100, where 0 means no new connections.
	AnnotationWeight = "usher.techn.is/weight"

	// AnnotationDNS, with the value "false", makes usher want no DNS record for the
	// object's hosts. Without it, and with "true", an accepted host has records.
	AnnotationDNS = "usher.techn.is/dns"

	// AnnotationDNSTTL is the TTL of the hosts' DNS records in seconds: 1 to MaxDNSTTL.
	// Without it, that of the flag --dns-ttl counts.
	AnnotationDNSTTL = "usher.techn.is/dns-ttl"

	// AnnotationDNSCloudflareProxied says whether Cloudflare's proxy stands before the
	// hosts: "true" or "false". Without it, the flag --dns-property counts.
	AnnotationDNSCloudflareProxied = "usher.techn.is/dns-cloudflare-proxied"
)

// AnnotationDrain on a MemberCluster, with the value "true", drains the cluster: hosts
// that have another healthy backend get no new connections there.
const AnnotationDrain = "usher.techn.is/drain"

// AnnotationMoveTo on an ExposedHost names the cluster that gets the host, if its claim on
// the host is sound. usher removes the annotation when it has moved the host or refused to.
const AnnotationMoveTo = "usher.techn.is/move-to"

// LabelManaged marks, with the value "true", the ExposedHosts that usher creates
// and manages. An ExposedHost without it is manually written, and usher never
// changes its spec.
const LabelManaged = "usher.techn.is/managed"

// LabelDNSView, with a DNSView in lower case as its value, marks the DNSEndpoints that usher
// writes, together with LabelManaged. An external-dns selects those of its view by it.
const LabelDNSView = "usher.techn.is/dns-view"

// FieldManager is the name under which usher writes ExposedHosts and DNSEndpoints and
// reports Events.
const FieldManager = "usher"
