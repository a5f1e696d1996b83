package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// MemberCluster is a cluster whose ingress objects usher publishes.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=mcl,categories=usher
// +kubebuilder:printcolumn:name=Ready,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name=Reason,type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`
// +kubebuilder:printcolumn:name=Ingress,type=string,JSONPath=`.status.ingress.summary`
// +kubebuilder:printcolumn:name=Hosts,type=integer,JSONPath=`.status.hosts`
// +kubebuilder:printcolumn:name=Version,type=string,JSONPath=`.status.kubernetesVersion`
// +kubebuilder:printcolumn:name=Traefik,type=string,priority=1,JSONPath=`.status.traefik.version`
// +kubebuilder:printcolumn:name=Rules,type=string,priority=1,JSONPath=`.status.traefik.ruleSyntax`
// +kubebuilder:printcolumn:name=Age,type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="size(self.metadata.name) <= 63",message="a MemberCluster's name has at most 63 characters"
type MemberCluster struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is how to reach the cluster and its ingress, and what it may publish.
	// +optional
	// +kubebuilder:default={}
	Spec MemberClusterSpec `json:"spec,omitempty"`
	// Status is written by usher.
	// +optional
	Status MemberClusterStatus `json:"status,omitempty"`
}

// MemberClusterList is a list of MemberClusters.
//
// +kubebuilder:object:root=true
type MemberClusterList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []MemberCluster `json:"items"`
}

// MemberClusterSpec is how to reach a cluster and its ingress, and what it may publish.
//
// +kubebuilder:validation:XValidation:rule="!has(self.traefik) || !has(self.kubeconfig)",message="a member has a kubeconfig or a traefik, not both: remove one of them"
// +kubebuilder:validation:XValidation:rule="!has(self.traefik) || has(self.ingress) && has(self.ingress.addresses) && size(self.ingress.addresses) > 0",message="a member with traefik needs ingress.addresses: there is no Service that they could be read from"
// +kubebuilder:validation:XValidation:rule="!has(self.traefik) || has(self.traefik.publicEntryPoint) || has(self.isolation)",message="a member with traefik needs traefik.publicEntryPoint or isolation: they mark the routers that may be published"
type MemberClusterSpec struct {
	// Kubeconfig names the Secret with the kubeconfig that usher uses to watch the
	// cluster. Without it and without Traefik, the member is the edge cluster itself.
	// +optional
	Kubeconfig *KubeconfigRef `json:"kubeconfig,omitempty"`

	// Traefik makes the member a Traefik without Kubernetes, whose routers are read from
	// its API, in place of Kubeconfig. Ingress.Addresses are required then.
	// +optional
	Traefik *TraefikAPI `json:"traefik,omitempty"`

	// Ingress is the endpoint of the cluster's Traefik, as reached from the edge.
	// +optional
	// +kubebuilder:default={}
	Ingress IngressEndpoint `json:"ingress,omitempty"`

	// IngressClasses are the ingress classes that may be published, for routes of the
	// Gateway API the GatewayClasses. A source of another class is refused; a source
	// without a class is not. A Gateway of one of them is taken to answer at the
	// ingress. Empty allows all.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	IngressClasses []string `json:"ingressClasses,omitempty"`

	// AllowedDomains are the domains under which the cluster may publish: each
	// covers itself and every name below it. A claim on a host outside them is
	// refused. Empty allows all.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\\\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$')",message="a domain is lower-case labels joined by dots, without '*.' and without a trailing dot, such as techn.is"
	AllowedDomains []string `json:"allowedDomains,omitempty"`

	// RequireAll refuses a host while an object of the cluster that is not annotated
	// names the host or a wildcard over it. A TLS connection is routed by host name
	// only, so a client of a published host reaches all objects that name it.
	// +optional
	RequireAll bool `json:"requireAll,omitempty"`

	// Isolation requires that Traefik serves published routes with TLS options of
	// their own. Traefik then answers 421 to a client that connects with the name of
	// a published host and requests another host.
	// +optional
	Isolation *Isolation `json:"isolation,omitempty"`
}

// Isolation names the TLS options that mark the published routes of a Traefik.
type Isolation struct {
	// TLSOptions is the TLSOption that published routes use. A route may also use a
	// TLSOption of the same namespace whose name starts with this name and a hyphen.
	// Routes with different allow-from lists need different TLSOptions.
	TLSOptions TLSOptionsRef `json:"tlsOptions"`
	// EntryPoints are entry points of Traefik whose static configuration sets
	// http.tls.options to TLSOptions. A route that is only on these entry points and
	// has no TLS section uses TLSOptions.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	EntryPoints []string `json:"entryPoints,omitempty"`
}

// TLSOptionsRef names a TLSOption of Traefik in the member cluster.
type TLSOptionsRef struct {
	// Namespace of the TLSOption.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace"`
	// Name of the TLSOption. The name "default" is not allowed: Traefik uses the
	// TLSOption of this name for every route without TLS options.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +kubebuilder:validation:XValidation:rule="self != 'default'",message="Traefik uses the TLSOption default for every route without TLS options: choose another name, such as exposed"
	Name string `json:"name"`
}

// TraefikAPI is the API of a Traefik without Kubernetes. Nothing but GET requests is sent.
type TraefikAPI struct {
	// URL of the API without the path /api, such as https://traefik.home.arpa. Redirects
	// are not followed. http:// is allowed for a loopback address only: the answers decide
	// what is published.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="isURL(self) && url(self).getScheme() in ['https', 'http'] && url(self).getHost() != ''",message="not a URL: write it as https://traefik.home.arpa"
	URL string `json:"url"`
	// SecretName is a Secret in the namespace that usher runs in, with the keys username
	// and password, or with the key token for a bearer token. Empty: no credentials.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName,omitempty"`
	// CABundle are the PEM certificates of the authorities that may sign the certificate
	// of URL. Empty: those that the world trusts.
	// +optional
	// +kubebuilder:validation:MaxLength=262144
	CABundle []byte `json:"caBundle,omitempty"`
	// Interval between two requests, at least 2s. A change is published after one.
	// +optional
	// +kubebuilder:default="10s"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('2s') && duration(self) <= duration('1h')",message="interval is between 2s and 1h"
	Interval *metav1.Duration `json:"interval,omitempty"`
	// PublicEntryPoint is the entry point of Traefik whose routers are published, and no
	// others: the port of Ingress leads to it. A router without it is published only if it
	// has the TLS options of Isolation.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	PublicEntryPoint string `json:"publicEntryPoint,omitempty"`
}

// KubeconfigRef names a kubeconfig in a Secret of usher's own namespace.
type KubeconfigRef struct {
	// SecretName is the Secret's name, in the namespace that usher runs in.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	SecretName string `json:"secretName"`
	// Key is the Secret's key that holds the kubeconfig.
	// +optional
	// +kubebuilder:default=kubeconfig
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`
	// Context is the kubeconfig's context to use; empty uses its current context.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Context string `json:"context,omitempty"`
	// Insecure allows a kubeconfig that has insecure-skip-tls-verify, proxy-url or
	// as, or whose server is not an https:// URL. By default such a kubeconfig is
	// refused. Exec plugins, auth-providers and file paths are never allowed.
	// +optional
	Insecure bool `json:"insecure,omitempty"`
}

// IngressEndpoint is the endpoint of a member's Traefik, as reached from the edge.
type IngressEndpoint struct {
	// Addresses are IP addresses or DNS names, tried in order. If empty, the
	// load-balancer addresses of Service are used: only IP addresses, and none that
	// belongs to the edge itself or to another member.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) || self.matches('^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\\\\.)*[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$')",message="an address is an IP address or a DNS name, without a port"
	Addresses []string `json:"addresses,omitempty"`
	// AllowedNetworks are CIDRs that must contain every address of the ingress:
	// entries of Addresses, load-balancer addresses, and addresses that a DNS name
	// resolves to. Other addresses are refused. If empty, only the built-in checks
	// of addresses apply.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self)",message="not a CIDR: write an address and a prefix length, such as 192.168.0.0/16"
	AllowedNetworks []string `json:"allowedNetworks,omitempty"`
	// Service is the Service of the member's Traefik. Its load-balancer addresses are
	// used if Addresses is empty. Its labels tell the version of Traefik.
	// +optional
	// +kubebuilder:default={}
	Service ServiceRef `json:"service,omitempty"`
	// HTTPSPort is where TLS connections go.
	// +optional
	// +kubebuilder:default=443
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	HTTPSPort int32 `json:"httpsPort,omitempty"`
	// HTTPPort is where forwarded plain HTTP goes: ACME challenges, and hosts with plain-HTTP mode Forward.
	// +optional
	// +kubebuilder:default=80
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	HTTPPort int32 `json:"httpPort,omitempty"`
	// ProxyProtocol is the version of the PROXY protocol header that usher sends to
	// HTTPSPort at the start of each connection, with the client's address. Configure
	// Traefik's entry point to trust the edge first: an entry point without
	// proxyProtocol.trustedIPs does not accept the header, and its connections fail.
	// +optional
	// +kubebuilder:default=None
	ProxyProtocol ProxyProtocol `json:"proxyProtocol,omitempty"`
	// HTTPProxyProtocol is ProxyProtocol for HTTPPort: Traefik configures each entry
	// point by itself.
	// +optional
	// +kubebuilder:default=None
	HTTPProxyProtocol ProxyProtocol `json:"httpProxyProtocol,omitempty"`
	// EntryPoints are the entry points of Traefik that HTTPSPort leads to. A source
	// that names other entry points only is refused. If empty, the entry point is the
	// name of the Service's port HTTPSPort; if usher does not know the Service's ports,
	// any entry point is accepted.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	EntryPoints []string `json:"entryPoints,omitempty"`
	// Ports are where Traefik takes the connections of the edge's TLS ports other than
	// https. A source is published on such a port only if it has an entry here.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=15
	Ports []IngressPort `json:"ports,omitempty"`
	// Providers are the Kubernetes providers in Traefik's static configuration. A source
	// that they do not serve is refused: one of another ingress class, one without the
	// class, or one of a kind whose provider is missing here. If not set, Traefik is
	// taken to serve every class. Routes of the Gateway API are not affected.
	// +optional
	Providers *TraefikProviders `json:"providers,omitempty"`
	// Gateways leads the hosts of a route of the Gateway API to the address of the
	// Gateway that accepted it, from the Gateway's status, if it is not the address of
	// the ingress. The ports and PROXY headers are those of the ingress. The addresses
	// are checked like those of Service: see status.gateways. Without it, a route is
	// published only if its Gateway answers at the ingress.
	// +optional
	Gateways bool `json:"gateways,omitempty"`
	// RuleSyntax is the syntax of Traefik rules whose route has no syntax field. Set
	// it if Traefik has core.defaultRuleSyntax. If empty, usher detects the version of
	// Traefik; if it cannot, a rule that V2 and V3 read differently is refused.
	// +optional
	RuleSyntax RuleSyntax `json:"ruleSyntax,omitempty"`
	// HealthCheck says how the addresses are checked. Without it they are not checked:
	// an address that cannot be dialled is put off by the connections themselves.
	// +optional
	HealthCheck *HealthCheck `json:"healthCheck,omitempty"`
}

// IngressPort is where a member's Traefik takes the connections of one TLS port of the edge.
type IngressPort struct {
	BackendPort `json:",inline"`
	// EntryPoint is the entry point of Traefik that Port leads to. A source that names
	// other entry points only is refused for this port. If empty, the entry point is the
	// name of the Service's port Port; if usher does not know the Service's ports, any
	// entry point is accepted, or none if the member has spec.isolation.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	EntryPoint string `json:"entryPoint,omitempty"`
}

// TraefikProviders are the Kubernetes providers in the static configuration of a
// Traefik. A provider that is not set is one that this Traefik does not have.
// +kubebuilder:validation:MinProperties=1
type TraefikProviders struct {
	// KubernetesCRD is the provider of IngressRoutes and IngressRouteTCPs.
	// +optional
	KubernetesCRD *TraefikProvider `json:"kubernetesCRD,omitempty"`
	// KubernetesIngress is the provider of Ingresses.
	// +optional
	KubernetesIngress *TraefikProvider `json:"kubernetesIngress,omitempty"`
}

// TraefikProvider is one of the Kubernetes providers of a Traefik.
type TraefikProvider struct {
	// IngressClass is the provider's ingressClass: it serves only objects of this class.
	// If empty, the provider has none: it serves objects without a class and those of
	// the class traefik; kubernetesIngress also Ingresses whose spec.ingressClassName is
	// an IngressClass of Traefik's controller.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	IngressClass string `json:"ingressClass"`
}

// RuleSyntax is a version of the grammar of Traefik's rules.
// +kubebuilder:validation:Enum=V2;V3
type RuleSyntax string

// The values of RuleSyntax.
const (
	RuleSyntaxV2 RuleSyntax = "V2"
	RuleSyntaxV3 RuleSyntax = "V3"
)

// ServiceRef names a Service of the member cluster.
type ServiceRef struct {
	// Namespace of the Service.
	// +optional
	// +kubebuilder:default=kube-system
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// Name of the Service.
	// +optional
	// +kubebuilder:default=traefik
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`
}

// ProxyProtocol is a version of HAProxy's PROXY protocol, or none.
// +kubebuilder:validation:Enum=None;V1;V2
type ProxyProtocol string

// The values of ProxyProtocol.
const (
	ProxyProtocolNone ProxyProtocol = "None"
	ProxyProtocolV1   ProxyProtocol = "V1"
	ProxyProtocolV2   ProxyProtocol = "V2"
)

// The condition types of a MemberCluster.
const (
	// ConditionConnected is True while the cluster's API server answers.
	ConditionConnected = "Connected"
	// ConditionSynced is True once usher has read all objects that it watches in the cluster.
	ConditionSynced = "Synced"
	// ConditionIsolated is set for a cluster with spec.isolation. It is False while an
	// object without the annotation uses the TLS options of published routes.
	ConditionIsolated = "Isolated"
	// ConditionCredentialsValid is set for a cluster with spec.kubeconfig. It is False
	// once a certificate or the token of the kubeconfig ends within 30 days.
	ConditionCredentialsValid = "CredentialsValid"
	// ConditionDraining is set for a cluster with the annotation usher.techn.is/drain. It is
	// False if the value of the annotation is malformed.
	ConditionDraining = "Draining"
	// ConditionHealthy is set for a cluster with spec.ingress.healthCheck whose addresses
	// are checked by the process with the control plane. It is False while one of them
	// does not pass. It follows the checks of that process alone; the others' are metrics.
	ConditionHealthy = "Healthy"
)

// ConditionReady is the summary condition of both kinds. A MemberCluster is Ready
// when it is connected and synced and has an ingress address; an ExposedHost when
// it is accepted and one of its backends has an address.
const ConditionReady = "Ready"

// MemberClusterStatus is the observed state of a MemberCluster.
type MemberClusterStatus struct {
	// Conditions: Connected, Synced, Ready; with spec.isolation also Isolated, with
	// spec.kubeconfig also CredentialsValid; of a drained cluster also Draining, with
	// spec.ingress.healthCheck also Healthy.
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Ingress is the endpoint in use. The last known endpoint stays while the member is unreachable.
	// +optional
	Ingress *ResolvedIngress `json:"ingress,omitempty"`
	// Gateways are the Gateways of the member that hosts may be led to, with
	// spec.ingress.gateways: those that do not answer at the ingress, the oldest 32.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Gateways []ResolvedGateway `json:"gateways,omitempty"`
	// KubernetesVersion is the version that the member's API server last reported.
	// +optional
	KubernetesVersion string `json:"kubernetesVersion,omitempty"`
	// Traefik is what usher detected of the member's Traefik.
	// +optional
	Traefik *ObservedTraefik `json:"traefik,omitempty"`
	// Hosts is the number of accepted ExposedHosts that this member holds.
	// +optional
	// +kubebuilder:default=0
	Hosts int32 `json:"hosts"`
	// LastSyncTime is when the member last became in sync.
	// +optional
	LastSyncTime *metav1.Time `json:"lastSyncTime,omitempty"`
	// Kubeconfig is the version of the Secret in spec.kubeconfig that is in use. A new
	// version is in use once usher has read the member with it; until then this field
	// keeps the previous version.
	// +optional
	Kubeconfig *ObservedKubeconfig `json:"kubeconfig,omitempty"`
	// CredentialsExpiry is when the first certificate, or the token, of the kubeconfig
	// in spec.kubeconfig ends. It is not set if none of them has an end.
	// +optional
	CredentialsExpiry *metav1.Time `json:"credentialsExpiry,omitempty"`
	// Refusals are rejected sources without a usable host, and so without an ExposedHost,
	// and annotated objects of kinds whose annotations usher does not read; the latest 10.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	Refusals []SourceRefusal `json:"refusals,omitempty"`
}

// ObservedTraefik is what usher detected of a member's Traefik.
type ObservedTraefik struct {
	// Version is the version label of the member's Service, such as v3.7.13; empty if
	// the Service has none, or if usher does not read the Service.
	// +optional
	Version string `json:"version,omitempty"`
	// RuleSyntax is the syntax of rules whose route has no syntax field; empty if it is unknown.
	// +optional
	RuleSyntax RuleSyntax `json:"ruleSyntax,omitempty"`
	// DetectedBy says where RuleSyntax comes from.
	// +optional
	DetectedBy string `json:"detectedBy,omitempty"`
	// EntryPoints are the entry points that HTTPSPort leads to; empty if they are unknown.
	// +optional
	// +listType=atomic
	EntryPoints []string `json:"entryPoints,omitempty"`
	// HTTPEntryPoints are the entry points that HTTPPort leads to; empty if they are unknown.
	// +optional
	// +listType=atomic
	HTTPEntryPoints []string `json:"httpEntryPoints,omitempty"`
	// Ports are the entry points that the ports of spec.ingress.ports lead to, without
	// those that are unknown.
	// +optional
	// +listType=map
	// +listMapKey=name
	Ports []ObservedPort `json:"ports,omitempty"`
}

// ObservedPort is a port of spec.ingress.ports with the entry points that it leads to.
type ObservedPort struct {
	// Name of the port.
	Name string `json:"name"`
	// EntryPoints that it leads to.
	// +listType=atomic
	EntryPoints []string `json:"entryPoints"`
}

// ObservedKubeconfig identifies a version of a Secret. It reveals nothing of the Secret's content.
type ObservedKubeconfig struct {
	// SecretUID is the Secret's metadata.uid.
	SecretUID types.UID `json:"secretUID"`
	// ResourceVersion is the Secret's metadata.resourceVersion. It also changes when
	// the Secret changes and its kubeconfig does not.
	ResourceVersion string `json:"resourceVersion"`
}

// ResolvedIngress is an ingress endpoint in use.
type ResolvedIngress struct {
	// Addresses are IP addresses or DNS names, tried in order.
	// +optional
	// +listType=atomic
	Addresses []string `json:"addresses,omitempty"`
	// Pinned means that the addresses come from spec.ingress.addresses, also after
	// that field was emptied, and not from the member's Service.
	// +optional
	Pinned bool `json:"pinned,omitempty"`
	// HTTPSPort is where TLS connections go.
	HTTPSPort int32 `json:"httpsPort"`
	// HTTPPort is where forwarded plain HTTP goes.
	HTTPPort int32 `json:"httpPort"`
	// ProxyProtocol is the version of the PROXY protocol header of connections to HTTPSPort.
	// +optional
	ProxyProtocol ProxyProtocol `json:"proxyProtocol,omitempty"`
	// HTTPProxyProtocol is the version of the header of connections to HTTPPort; none if not set.
	// +optional
	HTTPProxyProtocol ProxyProtocol `json:"httpProxyProtocol,omitempty"`
	// Summary is the first address with the HTTPS port, and the number of further addresses, for kubectl's columns.
	// +optional
	Summary string `json:"summary,omitempty"`
}

// ResolvedGateway is a Gateway of a member, with the addresses that may be used.
type ResolvedGateway struct {
	// Namespace of the Gateway.
	Namespace string `json:"namespace"`
	// Name of the Gateway.
	Name string `json:"name"`
	// Addresses are IP addresses, tried in order.
	// +optional
	// +listType=atomic
	Addresses []string `json:"addresses,omitempty"`
	// Refusal says which of the Gateway's addresses are not used, and why.
	// +optional
	Refusal string `json:"refusal,omitempty"`
}

// SourceRefusal is a rejected source without a usable host, or an annotated object of a
// kind whose annotations usher does not read.
type SourceRefusal struct {
	// Kind of the source, such as IngressRoute.
	Kind string `json:"kind"`
	// Namespace of the source; empty for an object without one.
	Namespace string `json:"namespace"`
	// Name of the source.
	Name string `json:"name"`
	// Reason in CamelCase.
	Reason string `json:"reason"`
	// Message says what is wrong and how to fix it.
	Message string `json:"message"`
}
