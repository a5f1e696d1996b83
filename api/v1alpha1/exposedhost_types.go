package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ExposedHost is a host name and the decision about it: whether it is published, and where its connections go.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=eh,categories=usher
// +kubebuilder:printcolumn:name=Host,type=string,JSONPath=`.spec.host`
// +kubebuilder:printcolumn:name=Cluster,type=string,JSONPath=`.status.summary.cluster`
// +kubebuilder:printcolumn:name=Source,type=string,JSONPath=`.status.summary.source`
// +kubebuilder:printcolumn:name=Ready,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name=Reason,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name=Backend,type=string,priority=1,JSONPath=`.status.summary.backend`
// +kubebuilder:printcolumn:name=Ports,type=string,priority=1,JSONPath=`.status.summary.ports`
// +kubebuilder:printcolumn:name=DNS,type=string,priority=1,JSONPath=`.status.conditions[?(@.type=="DNSReady")].status`
// +kubebuilder:printcolumn:name=Rivals,type=string,priority=1,JSONPath=`.status.summary.rivals`
// +kubebuilder:validation:XValidation:rule="self.metadata.name == (self.spec.host.startsWith('*.') ? 'wildcard.' + self.spec.host.substring(2) : self.spec.host)",message="metadata.name must be spec.host, with a leading '*.' written 'wildcard.'"
type ExposedHost struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says where the host's connections go.
	Spec ExposedHostSpec `json:"spec"`
	// Status is written by usher.
	// +optional
	Status ExposedHostStatus `json:"status,omitempty"`
}

// ExposedHostList is a list of ExposedHosts.
//
// +kubebuilder:object:root=true
type ExposedHostList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ExposedHost `json:"items"`
}

// ExposedHostSpec says where a host's connections go.
//
// +kubebuilder:validation:XValidation:rule="!has(self.except) || size(self.except) == 0 || self.host.startsWith('*.')",message="except goes with a wildcard"
// +kubebuilder:validation:XValidation:rule="!has(self.shareBelow) || !self.shareBelow || self.host.startsWith('*.')",message="shareBelow goes with a wildcard"
// +kubebuilder:validation:XValidation:rule="!has(self.tls) || self.tls != 'Deny' || has(self.plainHTTP) && self.plainHTTP == 'Forward'",message="tls: Deny needs plainHTTP: Forward: without it the host is not served at all"
// +kubebuilder:validation:XValidation:rule="!has(self.ports) || size(self.ports) == 0 || !has(self.tls) || self.tls != 'Deny'",message="tls: Deny refuses TLS on every port: remove ports, or remove tls and leave https out of ports"
// +kubebuilder:validation:XValidation:rule="!has(self.ports) || size(self.ports) == 0 || 'https' in self.ports || has(self.plainHTTP) && self.plainHTTP != 'Redirect'",message="ports has no https, so plain HTTP cannot be redirected to it: set plainHTTP: Deny or Forward, or add https to ports"
type ExposedHostSpec struct {
	// Host is the host name: lower case, internationalized labels in their ASCII
	// form (xn--), no trailing dot. A leading '*.' covers one label.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^([*][.])?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?[.])*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$') && !isIP(self)",message="a host is lower-case ASCII labels joined by dots, such as app.techn.is or *.techn.is; no IP address, no port, no trailing dot"
	// +kubebuilder:validation:XValidation:rule="!self.matches('(^|[.])[0-9]+$')",message="a last label of digits alone makes an IP address of a host"
	// +kubebuilder:validation:XValidation:rule="!self.matches('(^|[.])xn--[a-z0-9-]{0,2}([.]|$)')",message="a label that begins with xn-- must be an internationalized label in its ASCII form"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('wildcard.')",message="a first label 'wildcard' stands for '*' in object names, and so cannot be a host's own"
	// +kubebuilder:validation:XValidation:rule="!self.startsWith('*.') || self.substring(2).contains('.')",message="a wildcard over a whole top-level domain is not published; write *.domain.tld"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="host is immutable: delete this ExposedHost and make another"
	Host string `json:"host"`

	// Holder is the MemberCluster that holds the host. While that cluster claims the
	// host, only its sources decide whether the host is published, and no other
	// cluster gets it. It is empty if no cluster holds the host. usher writes this
	// field; in a manually written ExposedHost it has no effect.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Holder string `json:"holder,omitempty"`

	// Share means that every source of the holder shares the host: clusters whose own
	// sources share it too are backends besides the holder. usher writes this field; in a
	// manually written ExposedHost it has no effect.
	// +optional
	Share bool `json:"share,omitempty"`

	// Backends are where connections go, as Strategy says. A host without backends is
	// not served.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Backends []HostBackend `json:"backends,omitempty"`

	// Strategy chooses among the addresses of the backends; Failover if not set.
	// Addresses that do not answer come last in every strategy.
	// +optional
	Strategy Strategy `json:"strategy,omitempty"`

	// PlainHTTP is what port 80 does for the host. ACME challenges are always
	// forwarded.
	// +optional
	// +kubebuilder:default=Redirect
	PlainHTTP PlainHTTP `json:"plainHTTP,omitempty"`

	// TLS is what the TLS ports do for the host; Passthrough if not set. Deny is for a
	// host that is only served on plain HTTP; it needs plainHTTP: Forward, and no ports.
	// +optional
	TLS TLSMode `json:"tls,omitempty"`

	// Ports are the names of the TLS ports of the edge on which the host is served:
	// https is the port of --https-listen, and the flag --tls-listen names others. On
	// each other TLS port the host is refused. Empty means https alone.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`
	Ports []string `json:"ports,omitempty"`

	// AllowFrom are the clients that may connect: CIDRs, such as 192.168.0.0/16 or
	// 2001:db8::/32, and NetworkLists by name, such as @family. Names and a CIDR that are
	// joined by '&', such as @family&192.168.0.0/16, are the clients that are in all of
	// them. Empty allows everyone. If a NetworkList does not exist, no client may connect.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=309
	// +kubebuilder:validation:items:XValidation:rule="self.contains('/') ? self.matches('^(@[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?&){0,4}[^@&]+$') && isCIDR(self.substring(self.lastIndexOf('&') + 1)) : self.matches('^@[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(&@[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?){0,3}$')",message="not a CIDR and not a NetworkList: write an address and a prefix length, such as 192.168.0.0/16, or @ and a name, such as @family"
	AllowFrom []string `json:"allowFrom,omitempty"`

	// Except are the first labels of names that the wildcard does not cover: with
	// 'vault', *.techn.is does not cover vault.techn.is. That name is refused unless
	// it has its own ExposedHost. If the wildcard comes from an annotated source,
	// usher lists all names under it that objects of the source's cluster use.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9_-]+$`
	Except []string `json:"except,omitempty"`

	// ShareBelow lets every cluster publish names under the wildcard: with *.techn.is,
	// the name app.techn.is, and not a.b.techn.is. Without it, only the cluster that
	// holds the wildcard gets such names, or those among the backends if the ExposedHost
	// is manually written. If the wildcard comes from annotated sources, usher sets it
	// if all of them have the annotation usher.techn.is/share-below.
	// +optional
	ShareBelow bool `json:"shareBelow,omitempty"`

	// DNS says which DNS records usher wants for the host. If it is not set, those of the
	// flags --dns-target and --dns-internal-target.
	// +optional
	DNS *HostDNS `json:"dns,omitempty"`
}

// PortHTTPS is the name of the TLS port of the flag --https-listen.
const PortHTTPS = "https"

// MaxPorts is the maximum number of names in ExposedHostSpec.Ports. A cluster and an
// address have one less, since https is not in their lists.
const MaxPorts = 16

// MaxBackends is the maximum number of ExposedHostSpec.Backends.
const MaxBackends = 16

// MaxWeight is the maximum HostBackend.Weight, and the weight of a backend that sets none.
const MaxWeight = 100

// MaxExcept is the maximum number of labels in ExposedHostSpec.Except.
const MaxExcept = 1024

// HostBackend is a member cluster, or any other endpoint on the network.
//
// +kubebuilder:validation:XValidation:rule="has(self.cluster) != has(self.address)",message="exactly one of cluster and address must be set"
// +kubebuilder:validation:XValidation:rule="!has(self.gateway) || has(self.cluster)",message="gateway goes with a cluster"
// +kubebuilder:validation:XValidation:rule="!has(self.cluster) || (!has(self.httpsPort) && !has(self.httpPort))",message="ports go with an address; a cluster's ports are in its MemberCluster"
// +kubebuilder:validation:XValidation:rule="!has(self.cluster) || !has(self.ports)",message="ports go with an address; those of a cluster are in its MemberCluster's spec.ingress.ports"
// +kubebuilder:validation:XValidation:rule="!has(self.cluster) || !has(self.healthCheck)",message="healthCheck goes with an address; that of a cluster is in its MemberCluster's spec.ingress.healthCheck"
// +kubebuilder:validation:XValidation:rule="!has(self.cluster) || (!has(self.proxyProtocol) && !has(self.httpProxyProtocol))",message="proxyProtocol goes with an address; that of a cluster is in its MemberCluster"
type HostBackend struct {
	// Cluster is the name of a MemberCluster.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Cluster string `json:"cluster,omitempty"`
	// Gateway is a Gateway of Cluster, as NAMESPACE/NAME: connections go to its address
	// in status.gateways of the MemberCluster, and not to the ingress.
	// +optional
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:Pattern=`^[a-z0-9-]+/[a-z0-9.-]+$`
	Gateway string `json:"gateway,omitempty"`
	// Address is an IP address or a DNS name, without a port.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="isIP(self) || self.matches('^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?[.])*[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$')",message="an address is an IP address or a DNS name, without a port"
	Address string `json:"address,omitempty"`
	// HTTPSPort of Address; 443 if not set.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	HTTPSPort int32 `json:"httpsPort,omitempty"`
	// HTTPPort of Address; 80 if not set.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	HTTPPort int32 `json:"httpPort,omitempty"`
	// ProxyProtocol is the version of the PROXY protocol header that usher sends to
	// HTTPSPort of Address; none if not set.
	// +optional
	ProxyProtocol ProxyProtocol `json:"proxyProtocol,omitempty"`
	// HTTPProxyProtocol is ProxyProtocol for HTTPPort of Address.
	// +optional
	HTTPProxyProtocol ProxyProtocol `json:"httpProxyProtocol,omitempty"`
	// Ports are where Address takes the connections of the edge's TLS ports other than
	// https. A host is not served on a port for which none of its backends has an entry.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=15
	Ports []BackendPort `json:"ports,omitempty"`
	// Weight is the share of new connections that the backend gets, relative to the
	// weights of the others; 100 if not set. The addresses of a cluster share its weight
	// equally. 0 means no new connections. Failover distinguishes only 0 from the rest.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Weight *int32 `json:"weight,omitempty"`
	// HealthCheck says how Address is checked. That of a cluster is in its MemberCluster.
	// +optional
	HealthCheck *HealthCheck `json:"healthCheck,omitempty"`
}

// BackendPort is where a backend takes the connections of one TLS port of the edge.
type BackendPort struct {
	// Name of the port at the edge, as in the flag --tls-listen.
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`
	// +kubebuilder:validation:XValidation:rule="self != 'https'",message="httpsPort is the port for the connections of https"
	Name string `json:"name"`
	// Port that takes the connections.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`
	// ProxyProtocol is the version of the PROXY protocol header that usher sends at the
	// start of each connection to Port; none if not set.
	// +optional
	ProxyProtocol ProxyProtocol `json:"proxyProtocol,omitempty"`
}

// Strategy chooses among the addresses of a host's backends.
// +kubebuilder:validation:Enum=Failover;RoundRobin;LeastConnections;ClientHash
type Strategy string

// The values of Strategy.
const (
	// StrategyFailover uses the first address that answers, in the order of the backends.
	StrategyFailover Strategy = "Failover"
	// StrategyRoundRobin gives each address its share of the connections, by weight.
	StrategyRoundRobin Strategy = "RoundRobin"
	// StrategyLeastConnections uses the address with the fewest open connections for its
	// weight. Only connections of hosts with this strategy count.
	StrategyLeastConnections Strategy = "LeastConnections"
	// StrategyClientHash gives each client the same address while it answers: rendezvous
	// hashing of the client's address, of IPv6 its first 64 bits.
	StrategyClientHash Strategy = "ClientHash"
)

// HealthCheck says how the addresses of a backend are checked. Every replica checks by
// itself. An address that fails the check is dialled after all others.
type HealthCheck struct {
	// Type is None, TCP or TLS; None if not set. TCP opens a connection. TLS completes a
	// handshake with the name of a host that the backend serves, accepts any certificate,
	// and closes the connection properly.
	// +optional
	Type HealthCheckType `json:"type,omitempty"`
	// Interval between two checks of an address; 10s if not set, at least 1s.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="interval is between 1s and 1h"
	Interval *metav1.Duration `json:"interval,omitempty"`
	// Timeout of a check; 3s if not set.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('100ms') && duration(self) <= duration('1m')",message="timeout is between 100ms and 1m"
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// Rise is how many checks in a row succeed until an address is healthy again; 2 if not set.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Rise int32 `json:"rise,omitempty"`
	// Fall is how many checks in a row fail until an address is unhealthy; 3 if not set.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Fall int32 `json:"fall,omitempty"`
}

// HealthCheckType is a kind of health check.
// +kubebuilder:validation:Enum=None;TCP;TLS
type HealthCheckType string

// The values of HealthCheckType.
const (
	HealthCheckNone HealthCheckType = "None"
	HealthCheckTCP  HealthCheckType = "TCP"
	HealthCheckTLS  HealthCheckType = "TLS"
)

// PlainHTTP is what port 80 does for a host.
// +kubebuilder:validation:Enum=Redirect;Forward;Deny
type PlainHTTP string

// The values of PlainHTTP.
const (
	// PlainHTTPRedirect answers 308 to the same URL under https.
	PlainHTTPRedirect PlainHTTP = "Redirect"
	// PlainHTTPForward passes the request to the backend's HTTP port.
	PlainHTTPForward PlainHTTP = "Forward"
	// PlainHTTPDeny answers 404.
	PlainHTTPDeny PlainHTTP = "Deny"
)

// TLSMode is what the TLS ports do for a host.
// +kubebuilder:validation:Enum=Passthrough;Deny
type TLSMode string

// The values of TLSMode.
const (
	// TLSPassthrough passes connections to the backend.
	TLSPassthrough TLSMode = "Passthrough"
	// TLSDeny refuses connections.
	TLSDeny TLSMode = "Deny"
)

// ConditionAccepted of an ExposedHost: the host may be published.
const ConditionAccepted = "Accepted"

// ExposedHostStatus is the decision about the host, and the sources behind it.
type ExposedHostStatus struct {
	// Conditions: Accepted, Ready, Healthy, DNSReady.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Sources are the objects that requested this host. The host allows what all of
	// them allow: the clients that every source allows, and the strictest plain-HTTP
	// mode.
	// +optional
	// +listType=atomic
	Sources []SourceRef `json:"sources,omitempty"`
	// SourcesTotal is the number of sources; Sources lists the first 10.
	// +optional
	SourcesTotal int32 `json:"sourcesTotal,omitempty"`
	// RequestedBy says by whose annotation the host is exposed: of the first source, when
	// usher first accepted it.
	// +optional
	RequestedBy *RequestedBy `json:"requestedBy,omitempty"`
	// Rivals are conflicting sources: objects that also requested this host and were
	// refused.
	// +optional
	// +listType=atomic
	Rivals []Rival `json:"rivals,omitempty"`
	// RivalsTotal is the number of rivals; Rivals lists the first 10, and the first
	// of each cluster.
	// +optional
	RivalsTotal int32 `json:"rivalsTotal,omitempty"`
	// Below are names under the wildcard that other clusters claim: those that are
	// refused to them with the reason UnderWildcard, and those that they publish.
	// +optional
	// +listType=atomic
	Below []NameBelow `json:"below,omitempty"`
	// BelowTotal is the number of such names and clusters; Below lists the first 10.
	// +optional
	BelowTotal int32 `json:"belowTotal,omitempty"`
	// Backends are where connections go, as address:port: with the HTTPS port, and with
	// those of the host's other ports.
	// +optional
	// +listType=atomic
	Backends []string `json:"backends,omitempty"`
	// DNS are the DNS records that usher wants for the host. It is empty if usher runs
	// without --dns-target and --dns-internal-target.
	// +optional
	// +listType=atomic
	DNS []DNSRecord `json:"dns,omitempty"`
	// Summary is a short form of the fields above, for kubectl's columns.
	// +optional
	Summary Summary `json:"summary,omitempty"`
}

// Summary is a short form of an ExposedHost's status, for kubectl's columns.
type Summary struct {
	// Cluster that serves the host.
	// +optional
	Cluster string `json:"cluster,omitempty"`
	// Source is the first source, as Kind/namespace/name, and the number of further sources.
	// +optional
	Source string `json:"source,omitempty"`
	// Backend is the first resolved address.
	// +optional
	Backend string `json:"backend,omitempty"`
	// Ports are the names of the TLS ports on which the host is served; empty for https alone.
	// +optional
	Ports string `json:"ports,omitempty"`
	// Rivals are the names of the rivals' clusters.
	// +optional
	Rivals string `json:"rivals,omitempty"`
}

// SourceRef names an object in a member cluster.
type SourceRef struct {
	// Cluster is the MemberCluster's name.
	Cluster string `json:"cluster"`
	// Kind of the object, such as IngressRoute.
	Kind string `json:"kind"`
	// Namespace of the object.
	Namespace string `json:"namespace"`
	// Name of the object.
	Name string `json:"name"`
}

// RequestedBy says which version of an object requested a host, and who annotated it.
type RequestedBy struct {
	SourceRef `json:",inline"`
	// ResourceVersion of the object.
	// +optional
	ResourceVersion string `json:"resourceVersion,omitempty"`
	// Manager is the field manager of the annotation, as metadata.managedFields of the
	// object has it, such as kubectl-annotate or helm.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Manager string `json:"manager,omitempty"`
}

// Rival is a conflicting source: an object that also requested the host and was
// refused, with the reason.
type Rival struct {
	SourceRef `json:",inline"`
	// Reason in CamelCase.
	Reason string `json:"reason"`
}

// NameBelow is a name under a wildcard that another cluster claims, with the first
// source of that cluster.
type NameBelow struct {
	// Host is the name.
	Host string `json:"host"`
	// The reason is UnderWildcard, or Admitted if the cluster publishes the name.
	Rival `json:",inline"`
}
