package v1alpha1

// HostDNS says which DNS records usher wants for a host.
type HostDNS struct {
	// Policy is Publish or None; Publish if not set. With None the host has no records.
	// +optional
	Policy DNSPolicy `json:"policy,omitempty"`
	// TTL of the records in seconds; that of --dns-ttl if not set.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=604800
	TTL int32 `json:"ttl,omitempty"`
	// CloudflareProxied says whether Cloudflare's proxy stands before the host. It has an
	// effect on the public records only, and only if external-dns has Cloudflare as its
	// provider. If it is not set, the flag --dns-property counts.
	// +optional
	CloudflareProxied *bool `json:"cloudflareProxied,omitempty"`
}

// MaxDNSTTL is the maximum TTL of DNS records: a week, in seconds.
const MaxDNSTTL = 604800

// DNSPolicy is whether a host has DNS records.
// +kubebuilder:validation:Enum=Publish;None
type DNSPolicy string

// The values of DNSPolicy.
const (
	// DNSPublish wants records for the host while it is accepted.
	DNSPublish DNSPolicy = "Publish"
	// DNSNone wants no record.
	DNSNone DNSPolicy = "None"
)

// DNSView is who asks for a name: DNS often answers clients inside of the network
// differently.
// +kubebuilder:validation:Enum=Public;Internal
type DNSView string

// The values of DNSView.
const (
	// DNSPublic is what the internet sees.
	DNSPublic DNSView = "Public"
	// DNSInternal is what clients inside of the network see.
	DNSInternal DNSView = "Internal"
)

// DNSRecord is the records of one type that usher wants for a host in one view.
type DNSRecord struct {
	// View is who sees the records.
	View DNSView `json:"view"`
	// Type is A, AAAA or CNAME.
	Type string `json:"type"`
	// Targets are the addresses, or the name of a CNAME.
	// +listType=atomic
	Targets []string `json:"targets"`
	// TTL in seconds; the DNS provider's default if not set.
	// +optional
	TTL int32 `json:"ttl,omitempty"`
}

// ConditionDNSReady of an ExposedHost: its DNS records are as usher wants them. A host for
// which no records are wanted does not have it.
const ConditionDNSReady = "DNSReady"
