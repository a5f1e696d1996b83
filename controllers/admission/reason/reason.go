// Package reason is the one table of the reasons that usher gives: the stable
// CamelCase names that stand in conditions, rivals and refusals, with what each
// means and what a person can do. docs/reasons.md is checked against it.
//
// It holds data only, and must import nothing.
package reason

// Why a host is accepted.
const (
	Admitted = "Admitted"
	Manual   = "Manual"
)

// Why a source's own claim is refused.
const (
	AnnotationInvalid = "AnnotationInvalid"
	HostInvalid       = "HostInvalid"
	HostNotCovered    = "HostNotCovered"
	IngressClass      = "IngressClass"
	ParentNotAccepted = "ParentNotAccepted"
	RuleInvalid       = "RuleInvalid"
	TLSMissing        = "TLSMissing"
	UnknownHosts      = "UnknownHosts"
)

// Why a sound claim is refused.
const (
	AllowedDomains    = "AllowedDomains"
	AllowFromDisjoint = "AllowFromDisjoint"
	ClusterNotReady   = "ClusterNotReady"
	HeldByAnother     = "HeldByAnother"
	HeldByManual      = "HeldByManual"
	OptionsUncertain  = "OptionsUncertain"
)

// Why a host is refused whose claim is sound, for what is served beside it.
const (
	NotAllAnnotated = "NotAllAnnotated"
	TooManyNames    = "TooManyNames"
)

// Reason explains one name.
type Reason struct {
	// Name is stable: it is what people search for and alert on.
	Name string
	// Meaning is what is so.
	Meaning string
	// Advice is what to do about it; empty where nothing needs doing.
	Advice string
}

// All are the reasons, sorted by name.
func All() []Reason {
	return []Reason{
		{Admitted, "The cluster that holds the host, or where none did the one of the oldest sound claim, has it.", ""},
		{AllowFromDisjoint, "The allow-from annotations of the host's sources have no client in common.", "Let the CIDRs overlap, or publish the host from one source alone."},
		{AllowedDomains, "The host is outside the domains that its cluster may publish.", "Add the domain to the MemberCluster's spec.allowedDomains, or choose another host."},
		{AnnotationInvalid, "A usher.techn.is annotation of the source is malformed or unknown.", "Correct the annotation; the message quotes it."},
		{ClusterNotReady, "The source's cluster is not in sync, so its claims are unknown.", "See the MemberCluster's conditions. A host that the cluster holds already stays its."},
		{HeldByAnother, "Another cluster holds the host, and keeps it while it claims it and for the hand-over grace.", "Choose another host, or remove the holder's claims; the message says what is waited for."},
		{HeldByManual, "A person's ExposedHost holds the host.", "Delete that ExposedHost to leave the host to the annotated sources."},
		{HostInvalid, "The source, or an ExposedHost by hand, names a host that cannot be published: an IP address, a port, a malformed name.", "Correct the name; the message says what is wrong with it."},
		{HostNotCovered, "The annotation usher.techn.is/hosts names a host that the source's own rules do not match.", "Correct the annotation, or the rule."},
		{IngressClass, "The source, or the Gateway of a route, belongs to a class that its cluster may not publish.", "Add the class to the MemberCluster's spec.ingressClasses, or change the source's class."},
		{Manual, "A person wrote the ExposedHost.", ""},
		{NotAllAnnotated, "The MemberCluster has spec.requireAll, and objects of the cluster name the host, or a wildcard over it, that are not annotated.", "Annotate each of them, or take the host out of it; the message names them."},
		{OptionsUncertain, "Another source of the host in this cluster has a malformed annotation, which might keep clients out.", "Correct that source's annotation."},
		{ParentNotAccepted, "No parent of the route, a Gateway or an IngressRoute, takes it.", "See the route's status.parents, or create the parent that it names."},
		{RuleInvalid, "A rule cannot be read, matches no host, or means one thing in Traefik 2 and another in Traefik 3.", "Correct the rule; the message gives the position, or asks for the route's syntax."},
		{TLSMissing, "An IngressRouteTCP without tls, or an HTTPRoute on listeners of plain HTTP alone, takes no TLS connections.", "Set spec.tls, where passthrough: true leaves TLS to the service; or attach the route to an HTTPS listener."},
		{TooManyNames, "The cluster's objects have more names under a wildcard than can be kept out of it.", "Publish the names themselves instead of the wildcard, or all of them with usher.techn.is/wildcard: all."},
		{UnknownHosts, "The source's rules do not name their hosts.", "Name the hosts to publish in the annotation usher.techn.is/hosts."},
	}
}
