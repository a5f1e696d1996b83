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
	GatewayElsewhere  = "GatewayElsewhere"
	HostInvalid       = "HostInvalid"
	HostNotCovered    = "HostNotCovered"
	IngressClass      = "IngressClass"
	KindNotRead       = "KindNotRead"
	NotIsolated       = "NotIsolated"
	ParentNotAccepted = "ParentNotAccepted"
	PortUnknown       = "PortUnknown"
	RouterInvalid     = "RouterInvalid"
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
	NotShared         = "NotShared"
	OptionsUncertain  = "OptionsUncertain"
	ShareDiffers      = "ShareDiffers"
	TooManyBackends   = "TooManyBackends"
	UnderWildcard     = "UnderWildcard"
)

// Why a host is refused whose claim is sound, for what is served beside it.
const (
	IsolationShared = "IsolationShared"
	NotAllAnnotated = "NotAllAnnotated"
	TooManyNames    = "TooManyNames"
)

// Whether an accepted host, or a MemberCluster, is ready, and why not.
const (
	AddressRefused     = "AddressRefused"
	NoBackend          = "NoBackend"
	NoIngressAddress   = "NoIngressAddress"
	NoWeight           = "NoWeight"
	Ready              = "Ready"
	UnknownCluster     = "UnknownCluster"
	UnknownNetworkList = "UnknownNetworkList"
)

// Why a route refuses its host, where the Accepted condition does not say so.
const (
	Excepted        = "Excepted" // as routing.ReasonExcepted: the data plane does not know the API
	ManifestRefused = "ManifestRefused"
	NotDecided      = "NotDecided"
	PlainOnly       = "PlainOnly"     // as routing.ReasonPlainOnly
	PortNotServed   = "PortNotServed" // as routing.ReasonPortNotServed
	SpecInvalid     = "SpecInvalid"
)

// How far a MemberCluster is connected and read.
const (
	CertificateInvalid  = "CertificateInvalid"
	Connected           = "Connected"
	Connecting          = "Connecting"
	CredentialsExpired  = "CredentialsExpired"
	CredentialsExpiring = "CredentialsExpiring"
	CredentialsValid    = "CredentialsValid"
	Draining            = "Draining"
	Error               = "Error"
	Forbidden           = "Forbidden"
	HealthCheckFailed   = "HealthCheckFailed"
	Healthy             = "Healthy"
	Isolated            = "Isolated"
	KubeconfigInsecure  = "KubeconfigInsecure"
	KubeconfigInvalid   = "KubeconfigInvalid"
	SecretNotFound      = "SecretNotFound"
	Stale               = "Stale"
	Synced              = "Synced"
	Syncing             = "Syncing"
	TooLarge            = "TooLarge"
	TraefikInvalid      = "TraefikInvalid"
	UnannotatedRoutes   = "UnannotatedRoutes"
	Unauthorized        = "Unauthorized"
	Unreachable         = "Unreachable"
)

// Whether the DNS records of an accepted host are as usher wants them, and why not.
const (
	DNSDrift                = "DNSDrift"
	DNSEndpointsUnavailable = "DNSEndpointsUnavailable"
	DNSNameTaken            = "DNSNameTaken"
	DNSPending              = "DNSPending"
	DNSPublished            = "DNSPublished"
	DNSResolved             = "DNSResolved"
	DNSTargetItself         = "DNSTargetItself"
	DNSUnchecked            = "DNSUnchecked"
)

// What usher doctor finds about an accepted host.
const (
	BackendUnreachable    = "BackendUnreachable"
	CertificateExpiry     = "CertificateExpiry"
	CertificateMismatch   = "CertificateMismatch"
	CoalescingRisk        = "CoalescingRisk"
	DefaultCertificate    = "DefaultCertificate"
	ECHBackend            = "ECHBackend"
	ECHInDNS              = "ECHInDNS"
	FlexibleLoop          = "FlexibleLoop"
	FrontingLeak          = "FrontingLeak"
	HairpinNAT            = "HairpinNAT"
	LoopToSelf            = "LoopToSelf"
	PortExhaustion        = "PortExhaustion"
	ProxyProtocolMismatch = "ProxyProtocolMismatch"
)

// The reasons of Events besides those above.
const (
	HandedOver    = "HandedOver"
	Joined        = "Joined"
	Left          = "Left"
	MoveRefused   = "MoveRefused"
	OptionsDiffer = "OptionsDiffer"
	TakenOver     = "TakenOver"
	Withdrawn     = "Withdrawn"
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
		{"DNSReady", dnsReady()},
		{"Healthy", healthy()},
		{"Routes", routes()},
		{"MemberClusters", memberClusters()},
		{"Events", events()},
	}
}

// accepted are the reasons of an ExposedHost's Accepted condition, of its rivals,
// and of a MemberCluster's refusals.
func accepted() []Reason {
	return []Reason{
		{Admitted, "The host is published: by the cluster that holds it, or if none held it, by the cluster of the oldest sound claim.", ""},
		{AllowFromDisjoint, "The allow-from annotations of the host's sources have no client in common.", "Let the CIDRs overlap, or publish the host from one source alone."},
		{AllowedDomains, "The host is outside the domains that its cluster may publish.", "Add the domain to the MemberCluster's spec.allowedDomains, or choose another host."},
		{AnnotationInvalid, "An annotation usher.techn.is/… of the source is malformed or unknown.", "Correct the annotation; the message quotes it."},
		{ClusterNotReady, "The source's cluster is not in sync, so its claims are unknown.", "See the MemberCluster's conditions. A host that the cluster already holds stays with it."},
		{EntryPoint, "The source's routes are only on entry points of Traefik that usher sends no connections to, on the ports that the source requests.", "Add the entry point that the message names, or correct the MemberCluster's spec.ingress.entryPoints or spec.ingress.ports."},
		{GatewayElsewhere, "The Gateway that accepted the route is not known to answer at the ingress of its cluster, and another Gateway or controller may be the one that does. Or an older source leads the host to another Gateway.", "If the Gateway answers there, add its GatewayClass to the MemberCluster's spec.ingressClasses. To lead the host to the Gateway's own address, set spec.ingress.gateways."},
		{HeldByAnother, "Another cluster holds the host. It keeps the host while it claims it, and for the hand-over grace after that.", "Choose another host, remove the holder's claims, give the host to this cluster with usher move, or share it: annotate every source of the host, in both clusters, with usher.techn.is/share: \"true\". The message says what usher waits for."},
		{HeldByManual, "A manually written ExposedHost holds the host.", "Delete that ExposedHost to return the host to the annotated sources."},
		{HostInvalid, "The source, or a manually written ExposedHost, names a host that cannot be published: an IP address, a port, or a malformed name.", "Correct the name. The message says what is wrong with it."},
		{HostNotCovered, "The annotation usher.techn.is/hosts names a host that the source's own rules do not match.", "Correct the annotation, or the rule."},
		{IngressClass, "The source, or the Gateway of a route, belongs to a class that its cluster may not publish, or that its Traefik does not serve.", "Change the source's class, or add the class to the MemberCluster's spec.ingressClasses, or correct spec.ingress.providers; the message says which."},
		{IsolationShared, "Another host of the cluster has the same TLS options and another allow-from list: clients of one of the hosts would reach the other.", "Give one of them a TLSOption of its own, whose name starts with that of spec.isolation and a hyphen."},
		{KindNotRead, "The object has an annotation of usher, and usher does not read annotations of its kind.", "Annotate the Ingress, the IngressRoute or the route of the Gateway API that names the host."},
		{Manifest, "A file of --manifests, or its last good state, holds the host.", ""},
		{Manual, "The ExposedHost was written manually.", ""},
		{NotAllAnnotated, "The MemberCluster has spec.requireAll, and objects of the cluster without the annotation name the host or a wildcard over it.", "Annotate each object that the message names, or remove the host from it."},
		{NotIsolated, "The MemberCluster has spec.isolation, and an object that names the host does not use its TLS options, or does not name the entry point of a port that it requests.", "Set the TLS options on the object that the message names, or run usher cluster isolate; or name the entry point."},
		{NotShared, "The holder of the host shares it, and this cluster does not.", "Annotate every source of the host in this cluster with usher.techn.is/share: \"true\", or choose another host."},
		{OptionsUncertain, "Another source of the host in this cluster has a malformed annotation, which may exclude clients.", "Correct that source's annotation."},
		{ParentNotAccepted, "No parent of the route (a Gateway or an IngressRoute) accepts it.", "See the route's status.parents, or create the parent that it names."},
		{PortUnknown, "The source requests a TLS port that its cluster does not have. If it requests other ports too, the host is published on those.", "Add the port to the MemberCluster's spec.ingress.ports, or correct the annotation usher.techn.is/ports."},
		{RouterInvalid, "Traefik does not serve the router, or warns of it, or its name cannot be shown; the message says which.", "Correct the configuration that the router comes from: the labels of the container, or the file. Traefik's own log says more."},
		{RuleInvalid, "A rule cannot be read, matches no host, matches different hosts in Traefik 2 and Traefik 3, or has a wildcard that the cluster's Traefik does not serve.", "Correct the rule. The message gives the position, says to set the syntax, or says what serves the wildcard."},
		{ShareDiffers, "The cluster and the holder share the host, and their sources request different TLS ports, or what they request together may not be published in the cluster of the holder.", "Request the same ports and the same allow-from list in all sources of the host; the message says what differs."},
		{SpecInvalid, "The edge's API server refuses the ExposedHost that the sources request, since its CustomResourceDefinition is older than usher.", "Install the CustomResourceDefinitions of usher's version: kubectl apply -f charts/usher/crds. usher tries again each minute."},
		{TLSMissing, "An IngressRouteTCP without tls, or a route of the Gateway API on plain HTTP listeners only, accepts no TLS connections.", "Set spec.tls, with passthrough: true if the service terminates TLS, or attach the route to an HTTPS listener."},
		{TooManyBackends, "As many clusters share the host as an ExposedHost can have backends.", "Remove the claim of another cluster."},
		{TooManyHosts, "The object, or all objects of its cluster together, claim more hosts than the limit. The hosts beyond the limit have no ExposedHost.", "Name fewer hosts, or raise usher's --max-source-hosts or --max-member-hosts."},
		{TooManyNames, "The cluster's objects have more names under a wildcard than it can exclude.", "Publish the names instead of the wildcard, or all of them with usher.techn.is/wildcard: all."},
		{UnderWildcard, "A wildcard of another cluster, or a manually written one, covers the host and does not share the names under it.", "Annotate every source of the wildcard with usher.techn.is/share-below: \"true\", or set spec.shareBelow: true if its ExposedHost is manually written; or write an ExposedHost for the host."},
		{UnknownHosts, "The source's rules do not name their hosts.", "Name the hosts to publish in the annotation usher.techn.is/hosts."},
	}
}

// ready are the reasons of an accepted ExposedHost's Ready condition. That of a
// refused one has the reason of its Accepted condition.
func ready() []Reason {
	return []Reason{
		{AddressRefused, "The host's backend is usher itself, or all ingress addresses of its MemberCluster are refused.", "Correct spec.backends, or the MemberCluster's spec.ingress; the message names the address."},
		{AllowFromDisjoint, "The NetworkLists and networks that spec.allowFrom joins by & have no client in common.", "Let the lists overlap, or use the same allow-from list in all sources of the host."},
		{NoBackend, "The host's spec.backends is empty.", "Name a cluster or an address."},
		{NoIngressAddress, "The first backend's MemberCluster has no usable ingress address.", "Give the member's Service a load-balancer address, or set spec.ingress.addresses. If an address is refused, the message says which and why."},
		{NoWeight, "All backends of the host have the weight 0, so that none gets connections.", "Set another weight in the annotation usher.techn.is/weight, or in spec.backends of a manually written host."},
		{PortUnknown, "The host has no port on which it can be served: no backend has one of spec.ports, or usher does not listen on any.", "Add the port to spec.ingress.ports of the MemberCluster, or to ports of the address, and start usher with --tls-listen; the message says which is missing."},
		{Ready, "usher forwards connections to the addresses in status.backends.", ""},
		{UnknownCluster, "The first backend is a MemberCluster that does not exist.", "Create the MemberCluster, or correct spec.backends."},
		{UnknownNetworkList, "spec.allowFrom names a NetworkList that does not exist at the edge, or that usher cannot read. No client may connect.", "Create the NetworkList, or correct the name in the allow-from annotation or in spec.allowFrom. The message names it."},
	}
}

// healthy are the reasons of an ExposedHost's Healthy condition, and the kinds of what
// usher doctor finds. A MemberCluster has them for its hosts.
func healthy() []Reason {
	return []Reason{
		{BackendUnreachable, "An address of a backend does not accept connections, or does not complete a TLS handshake.", "Start what should answer there, or correct the addresses and ports of the MemberCluster or the ExposedHost."},
		{CertificateExpiry, "The certificate of the host ends within 14 days, has ended, or has not begun.", "Renew it in the member cluster."},
		{CertificateMismatch, "The backend shows a certificate of other names.", "Give the route a certificate of the host in the member cluster."},
		{CoalescingRisk, "The certificate covers a host of another backend, HTTP/2 is offered, and a request for that host is not answered with 421.", "Run usher cluster isolate, which adds a catch-all route, or give each host a certificate of its own."},
		{DNSDrift, "The resolver of --dns-resolver answers with other addresses than usher wants, or with none.", "See the DNSReady condition."},
		{DefaultCertificate, "The backend shows the certificate that Traefik makes for itself.", "Give the route a certificate of the host in the member cluster."},
		{ECHBackend, "The backend decrypts encrypted ClientHellos, so that it can serve names which usher does not see.", "Remove the ECH keys from the backend, or do not publish the host."},
		{ECHInDNS, "The resolver of the network answers with an address of the edge, and with a record of type HTTPS whose ECH keys another server has.", "Let the resolver answer type HTTPS with nothing: docs/dns.md says how."},
		{FlexibleLoop, "The backend redirects to https what a CDN forwards by plain HTTP.", "Set the CDN to TLS (at Cloudflare: Full (strict)), or end the redirection in the backend."},
		{FrontingLeak, "On a connection with the name of the host, the backend answers requests for hosts that are not published, or that other clients may not reach.", "Run usher cluster isolate."},
		{HairpinNAT, "The resolver of the network answers with the public address of the edge, which is not reached from this network.", "Let the resolver answer with the private address of the edge, or turn on NAT loopback in the router."},
		{Healthy, "The last audit found nothing.", ""},
		{LoopToSelf, "An address of a backend leads to usher itself.", "Correct the addresses of the MemberCluster or the ExposedHost."},
		{PortExhaustion, "Most local ports for connections to one backend are in use.", "Widen net.ipv4.ip_local_port_range, or add addresses to the backend."},
		{ProxyProtocolMismatch, "usher sends a PROXY header that the backend does not take, or the backend takes one and usher sends none.", "Correct proxyProtocol of the MemberCluster or the ExposedHost, or Traefik's entry point."},
	}
}

// dnsReady are the reasons of an ExposedHost's DNSReady condition.
func dnsReady() []Reason {
	return []Reason{
		{DNSDrift, "The resolver of --dns-resolver answers with other addresses than usher wants, or with none.", "Wait for the TTL of the old records, then read external-dns's log: another owner may have the record. The message says what the resolver answers."},
		{DNSEndpointsUnavailable, "The edge cluster has no kind DNSEndpoint, or usher may not use it.", "Install external-dns with its CustomResourceDefinitions, or usher's roles; the message says which. usher continues without a restart."},
		{DNSNameTaken, "Another DNSEndpoint, which usher has not written, has the name of usher's own. usher does not change it.", "Delete or rename that DNSEndpoint; the message names it. usher looks again each minute."},
		{DNSPending, "usher has written the DNSEndpoints, and external-dns has not read them.", "Check that an external-dns with --source=crd runs for usher's namespace and for the view."},
		{DNSPublished, "external-dns has read the DNSEndpoints. usher does not look whether the world sees the records, since it has no --dns-resolver, or the host has internal records only.", ""},
		{DNSResolved, "The resolver of --dns-resolver answers as usher wants.", ""},
		{DNSTargetItself, "The host is the name in --dns-target or --dns-internal-target, and would be a CNAME record of itself.", "Give the addresses instead of the name, or publish the host with usher.techn.is/dns: \"false\"."},
		{DNSUnchecked, "The resolver of --dns-resolver has not answered about the host.", "Check that usher reaches it, over UDP and TCP; the message has the error."},
	}
}

// routes are the reasons of a route that refuses its host, besides those above.
func routes() []Reason {
	return []Reason{
		{Excepted, "The name is in spec.except of its wildcard.", "Annotate the object that names it, or remove it from spec.except if the wildcard is manually written."},
		{ManifestRefused, "Only a refused file of --manifests names the host.", "Run usher check, which lists the errors."},
		{NotDecided, "usher has not decided about the ExposedHost yet.", "Check that a leader runs. See the alert UsherUndecided."},
		{PlainOnly, "The host is served on plain HTTP only: its source is on no entry point of TLS, or spec.tls is Deny.", "Put the source on an entry point of TLS, such as websecure."},
		{PortNotServed, "The client connected to a TLS port on which the host is not served.", "To serve the host there, name the port in the annotation usher.techn.is/ports, or in spec.ports of a manually written host. The message of the ExposedHost says why a requested port is refused."},
		{SpecInvalid, "A field of the ExposedHost cannot be read.", "Correct the field; the log's line \"Left a host out of the routing table\" names it."},
	}
}

// memberClusters are the reasons of a MemberCluster's conditions.
func memberClusters() []Reason {
	return []Reason{
		{AddressRefused, "The addresses of the ingress are refused.", "Correct the address, or spec.ingress.allowedNetworks; the message says which address is refused and why."},
		{AnnotationInvalid, "The annotation usher.techn.is/drain is neither true nor false: the cluster is not drained.", "Correct the annotation."},
		{CertificateInvalid, "The API server's certificate does not match the kubeconfig.", "Put the CA of the API server into the kubeconfig, or add the cluster again."},
		{Connected, "The API server answers.", ""},
		{Connecting, "The cluster has not been reached yet.", "Wait a moment."},
		{CredentialsExpired, "A certificate or the token of the kubeconfig has ended; the message says which and when.", "Run usher cluster add NAME again, or put a kubeconfig with new credentials into the Secret."},
		{CredentialsExpiring, "A certificate or the token of the kubeconfig ends within 30 days; the message says which and when. The cluster works until then.", "Run usher cluster add NAME again, or put a kubeconfig with new credentials into the Secret."},
		{CredentialsValid, "The kubeconfig's certificates and token end in 30 days or later, or never.", ""},
		{Draining, "The cluster is drained: its MemberCluster has the annotation usher.techn.is/drain. Its hosts get no new connections there while another backend answers; the message lists those that have no other.", "Remove the annotation, or run usher cluster drain NAME --undo, when the cluster may serve again."},
		{Error, "The API server answered with an error.", "See the message, which has the answer."},
		{Forbidden, "The kubeconfig's user lacks a permission; the message names it.", "Add the cluster again to renew the role."},
		{HealthCheckFailed, "Addresses of the cluster do not pass the health check of spec.ingress.healthCheck.", "usher's log names them with the error. If they answer clients, correct the check: its type, its timeout, or proxyProtocol."},
		{Healthy, "All addresses of the cluster that are checked pass.", ""},
		{Isolated, "No object without the annotation uses the TLS options of spec.isolation.", ""},
		{KubeconfigInsecure, "The kubeconfig has insecure-skip-tls-verify, proxy-url, as, or a server that is not an https:// URL.", "Change the kubeconfig as the message says, or allow it with spec.kubeconfig.insecure: true. The Connected condition then names the field."},
		{KubeconfigInvalid, "The kubeconfig cannot be used; the message says why. It may name no file and no exec plugin.", "Correct it, or add the cluster again."},
		{NoIngressAddress, "The cluster's Service has no load-balancer address.", "Give it one, or set spec.ingress.addresses."},
		{Ready, "The cluster's annotated sources are published.", ""},
		{SecretNotFound, "The Secret of spec.kubeconfig is not in usher's namespace.", "Create the Secret, or run usher cluster add NAME."},
		{Stale, "The cluster is unreachable. Its objects count as they were last read, and no host is withdrawn.", "See the Connected condition for the cause."},
		{Synced, "usher has read the cluster's sources and watches them. The message lists the kinds, those that the cluster does not serve, and those that the account may not read.", "To publish objects of a kind that is not served, install its CRD in the cluster: usher notices within 5 seconds. To let usher read a kind that it may not read, add the cluster again."},
		{Syncing, "The cluster's sources are being read.", "Wait a moment."},
		{TooLarge, "The API server sends more than usher accepts from one member: 8 MiB in one response, list page or event, or 64 MiB of ingress objects in total (about 60,000). Hosts that were read before stay published.", "Find out who creates so many or so large objects, or who answers in place of the API server. usher tries again after 10 seconds, then less often, and at least every 5 minutes."},
		{TraefikInvalid, "spec.traefik cannot be used; the message names the field, or the key of the Secret.", "Correct it; docs/docker.md has an example."},
		{UnannotatedRoutes, "Objects without the annotation use the TLS options of spec.isolation, so clients of published hosts reach them. The message names them.", "Annotate each object, or remove the TLS options from it."},
		{Unauthorized, "The token has expired or was revoked.", "Add the cluster again."},
		{Unreachable, "The API server does not answer.", "Check that it runs and that the edge reaches it. A server address 127.0.0.1 is the edge itself: add the cluster again with --server."},
	}
}

// events are the reasons of Events on an ExposedHost, besides those of its Accepted
// condition and of its rivals.
func events() []Reason {
	return []Reason{
		{HandedOver, "The host went from one cluster to another.", ""},
		{Joined, "Another cluster shares the host from now on.", ""},
		{Left, "A cluster no longer shares the host; the others serve it.", ""},
		{MoveRefused, "The host was not given to the cluster that usher move, or the annotation usher.techn.is/move-to, names; the message says why.", "Correct what the message names, and run usher move again."},
		{OptionsDiffer, "Sources of the host request different options; the host allows what all of them allow.", "Use the same annotations in the sources that the message names."},
		{TakenOver, "Another client wrote the ExposedHost's spec: usher no longer changes it.", "Delete the ExposedHost to return the host to its annotated sources."},
		{Withdrawn, "No object with the annotation publishes the host any more: usher removed the ExposedHost.", "Nothing, if the annotation or the object was removed on purpose."},
	}
}
