// Package reason is the one table of the reasons that usher gives: the stable
// CamelCase names that stand in conditions, rivals, refusals, routes and Events,
// with what each means and what a person can do. docs/reasons.md is checked against it.
//
// It holds data only, and must import nothing.
package reason

// Why a host is accepted.
const (
	Admitted = "Admitted"
	Manifest = "Manifest"
	Manual   = "Manual"
)

// Why a source's own claim is refused.
const (
	AnnotationInvalid = "AnnotationInvalid"
	EntryPoint        = "EntryPoint"
	HostInvalid       = "HostInvalid"
	HostNotCovered    = "HostNotCovered"
	IngressClass      = "IngressClass"
	NotIsolated       = "NotIsolated"
	ParentNotAccepted = "ParentNotAccepted"
	RuleInvalid       = "RuleInvalid"
	TLSMissing        = "TLSMissing"
	TooManyHosts      = "TooManyHosts"
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
	IsolationShared = "IsolationShared"
	NotAllAnnotated = "NotAllAnnotated"
	TooManyNames    = "TooManyNames"
)

// Whether an accepted host, or a MemberCluster, is ready, and why not.
const (
	AddressRefused   = "AddressRefused"
	NoBackend        = "NoBackend"
	NoIngressAddress = "NoIngressAddress"
	Ready            = "Ready"
	UnknownCluster   = "UnknownCluster"
)

// Why a route refuses its host, where the Accepted condition does not say so.
const (
	Excepted        = "Excepted" // as routing.ReasonExcepted: the data plane does not know the API
	ManifestRefused = "ManifestRefused"
	NotDecided      = "NotDecided"
	PlainOnly       = "PlainOnly" // as routing.ReasonPlainOnly
	SpecInvalid     = "SpecInvalid"
)

// How far a MemberCluster is connected and read.
const (
	CertificateInvalid = "CertificateInvalid"
	Connected          = "Connected"
	Connecting         = "Connecting"
	Error              = "Error"
	Forbidden          = "Forbidden"
	Isolated           = "Isolated"
	KubeconfigInsecure = "KubeconfigInsecure"
	KubeconfigInvalid  = "KubeconfigInvalid"
	SecretNotFound     = "SecretNotFound"
	Stale              = "Stale"
	Synced             = "Synced"
	Syncing            = "Syncing"
	TooLarge           = "TooLarge"
	UnannotatedRoutes  = "UnannotatedRoutes"
	Unauthorized       = "Unauthorized"
	Unreachable        = "Unreachable"
)

// The reasons of Events besides those above.
const (
	HandedOver    = "HandedOver"
	OptionsDiffer = "OptionsDiffer"
	TakenOver     = "TakenOver"
)

// Table explains the reasons of one place. A name may stand in several places.
type Table struct {
	// Heading is that of the section of docs/reasons.md which holds the table.
	Heading string
	// Reasons are sorted by name.
	Reasons []Reason
}

// Reason explains one name.
type Reason struct {
	// Name is stable: it is what people search for and alert on.
	Name string
	// Meaning is what is so.
	Meaning string
	// Advice is what to do about it; empty where nothing needs doing.
	Advice string
}

// Tables returns all tables, in the order of docs/reasons.md.
func Tables() []Table {
	return []Table{
		{"Accepted", accepted()},
		{"Ready", ready()},
		{"Routes", routes()},
		{"MemberClusters", memberClusters()},
		{"Events", events()},
	}
}

// accepted are the reasons of an ExposedHost's Accepted condition, of its rivals,
// and of a MemberCluster's refusals.
func accepted() []Reason {
	return []Reason{
		{Admitted, "The cluster that holds the host, or where none did the one of the oldest sound claim, has it.", ""},
		{AllowFromDisjoint, "The allow-from annotations of the host's sources have no client in common.", "Let the CIDRs overlap, or publish the host from one source alone."},
		{AllowedDomains, "The host is outside the domains that its cluster may publish.", "Add the domain to the MemberCluster's spec.allowedDomains, or choose another host."},
		{AnnotationInvalid, "A usher.techn.is annotation of the source is malformed or unknown.", "Correct the annotation; the message quotes it."},
		{ClusterNotReady, "The source's cluster is not in sync, so its claims are unknown.", "See the MemberCluster's conditions. A host that the cluster holds already stays its."},
		{EntryPoint, "The source's routes are only on entry points of Traefik that usher sends no connections to.", "Add the entry point that the message names, or correct the MemberCluster's spec.ingress.entryPoints."},
		{HeldByAnother, "Another cluster holds the host, and keeps it while it claims it and for the hand-over grace.", "Choose another host, or remove the holder's claims; the message says what is waited for."},
		{HeldByManual, "A person's ExposedHost holds the host.", "Delete that ExposedHost to leave the host to the annotated sources."},
		{HostInvalid, "The source, or an ExposedHost by hand, names a host that cannot be published: an IP address, a port, a malformed name.", "Correct the name; the message says what is wrong with it."},
		{HostNotCovered, "The annotation usher.techn.is/hosts names a host that the source's own rules do not match.", "Correct the annotation, or the rule."},
		{IngressClass, "The source, or the Gateway of a route, belongs to a class that its cluster may not publish.", "Add the class to the MemberCluster's spec.ingressClasses, or change the source's class."},
		{IsolationShared, "Another host of the cluster has the same TLS options and another allow-from list: clients of one of the hosts would reach the other.", "Give one of them a TLSOption of its own, whose name starts with that of spec.isolation and a hyphen."},
		{Manifest, "A file of --manifests, or its last good state, holds the host.", ""},
		{Manual, "A person wrote the ExposedHost.", ""},
		{NotAllAnnotated, "The MemberCluster has spec.requireAll, and objects of the cluster name the host, or a wildcard over it, that are not annotated.", "Annotate each of them, or take the host out of it; the message names them."},
		{NotIsolated, "The MemberCluster has spec.isolation, and an object that names the host does not use its TLS options.", "Set the TLS options on the object that the message names, or run usher cluster isolate."},
		{OptionsUncertain, "Another source of the host in this cluster has a malformed annotation, which might keep clients out.", "Correct that source's annotation."},
		{ParentNotAccepted, "No parent of the route, a Gateway or an IngressRoute, takes it.", "See the route's status.parents, or create the parent that it names."},
		{RuleInvalid, "A rule cannot be read, matches no host, or means one thing in Traefik 2 and another in Traefik 3.", "Correct the rule; the message gives the position, or asks for the route's syntax."},
		{TLSMissing, "An IngressRouteTCP without tls, or an HTTPRoute on listeners of plain HTTP alone, takes no TLS connections.", "Set spec.tls, where passthrough: true leaves TLS to the service; or attach the route to an HTTPS listener."},
		{TooManyHosts, "The object, or all objects of its cluster together, ask for more hosts than usher publishes of one. The hosts beyond the limit have no ExposedHost.", "Name fewer hosts, or raise usher's --max-source-hosts or --max-member-hosts."},
		{TooManyNames, "The cluster's objects have more names under a wildcard than can be kept out of it.", "Publish the names themselves instead of the wildcard, or all of them with usher.techn.is/wildcard: all."},
		{UnknownHosts, "The source's rules do not name their hosts.", "Name the hosts to publish in the annotation usher.techn.is/hosts."},
	}
}

// ready are the reasons of an accepted ExposedHost's Ready condition. That of a
// refused one has the reason of its Accepted condition.
func ready() []Reason {
	return []Reason{
		{AddressRefused, "The host's backend is usher itself, or all addresses of its MemberCluster's ingress are refused.", "Correct spec.backends, or the MemberCluster's spec.ingress; the message names the address."},
		{NoBackend, "The host's spec.backends is empty.", "Name a cluster or an address."},
		{NoIngressAddress, "The first backend's MemberCluster has no ingress address that may be used.", "Give the member's Service a load-balancer address, or set spec.ingress.addresses. Where an address is refused, the message says which and why."},
		{Ready, "Connections go to the addresses in status.backends.", ""},
		{UnknownCluster, "The first backend is a MemberCluster that does not exist.", "Make the MemberCluster, or correct spec.backends."},
	}
}

// routes are the reasons of a route that refuses its host, besides those above.
func routes() []Reason {
	return []Reason{
		{Excepted, "The name is in spec.except of its wildcard.", "Annotate the object that names it, or take it out of spec.except of a wildcard by hand."},
		{ManifestRefused, "Only a refused file of --manifests names the host.", "Run usher check, which tells the mistakes."},
		{NotDecided, "No process has decided about the ExposedHost.", "See that a leader runs, and the alert UsherUndecided."},
		{PlainOnly, "The host is served on plain HTTP only: its source is on no entry point of TLS, or spec.tls is Deny.", "Put the source on an entry point of TLS, such as websecure."},
		{SpecInvalid, "A field of the ExposedHost cannot be read.", "Correct the field; the log's line \"Left a host out of the routing table\" names it."},
	}
}

// memberClusters are the reasons of a MemberCluster's conditions.
func memberClusters() []Reason {
	return []Reason{
		{AddressRefused, "An address of the ingress may not be used, and there is no other.", "Correct the address, or spec.ingress.allowedNetworks; the message says which address is refused and why."},
		{CertificateInvalid, "The API server's certificate does not fit the kubeconfig.", "Put the CA of the API server into the kubeconfig, or add the cluster again."},
		{Connected, "The API server answers.", ""},
		{Connecting, "The cluster has not been reached yet.", "Wait a moment."},
		{Error, "The API server answered with an error.", "See the message, which has the answer."},
		{Forbidden, "The kubeconfig's user lacks a permission; the message names it.", "Add the cluster again, which renews the role."},
		{Isolated, "No object without the annotation uses the TLS options of spec.isolation.", ""},
		{KubeconfigInsecure, "The kubeconfig has insecure-skip-tls-verify, proxy-url, as, or a server that is no https:// URL.", "Write what the message says instead; or allow it with spec.kubeconfig.insecure: true, and the Connected condition says so."},
		{KubeconfigInvalid, "The kubeconfig cannot be used; the message says why. It may name no file and no exec plugin.", "Correct it, or add the cluster again."},
		{NoIngressAddress, "The cluster's Service has no load-balancer address.", "Give it one, or set spec.ingress.addresses."},
		{Ready, "The cluster's annotated sources are published.", ""},
		{SecretNotFound, "The Secret of spec.kubeconfig is not in usher's namespace.", "Make the Secret, or run usher cluster add NAME."},
		{Stale, "The cluster is away. What was last read of it counts, and nothing is withdrawn.", "See the Connected condition, which has the cause."},
		{Synced, "The cluster's sources are read and followed. The message lists the kinds, and those that the cluster does not serve.", "To publish objects of a kind that is not served, install its CRD in the cluster: usher notices within 5 seconds."},
		{Syncing, "The cluster's sources are being read.", "Wait a moment."},
		{TooLarge, "The API server sends more than usher takes from one member: 8 MiB in one answer, page of a list or event, or 64 MiB of ingress objects in all, some 60,000. What was read before stays published.", "See whose objects are so many or so large, or who answers in the API server's place. usher asks again after 10 seconds, and then less and less often, at least every 5 minutes or so."},
		{UnannotatedRoutes, "Objects without the annotation use the TLS options of spec.isolation, so clients of published hosts reach them. The message names them.", "Annotate each object, or remove the TLS options from it."},
		{Unauthorized, "The token has expired or was revoked.", "Add the cluster again."},
		{Unreachable, "The API server does not answer.", "See that it runs and that the edge reaches it. A server 127.0.0.1 is the edge itself: add the cluster again with --server."},
	}
}

// events are the reasons of Events on an ExposedHost, besides those of its Accepted
// condition and of its rivals.
func events() []Reason {
	return []Reason{
		{HandedOver, "The host went from one cluster to another.", ""},
		{OptionsDiffer, "Sources of the host ask for different options; what all of them allow counts.", "Let their annotations agree; the message names the sources."},
		{TakenOver, "Somebody else wrote the ExposedHost's spec: it is kept by hand from now on.", "Delete the ExposedHost to leave the host to its annotated sources."},
	}
}
