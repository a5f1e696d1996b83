package v1alpha1

import "strings"

// wildcardName replaces a host's leading "*." in the name of its ExposedHost, since
// an object's name cannot contain an asterisk. The schema of ExposedHost requires it.
const wildcardName = "wildcard."

// NameOfHost returns the metadata.name of a host's ExposedHost.
func NameOfHost(host string) string {
	if parent, ok := strings.CutPrefix(host, "*."); ok {
		return wildcardName + parent
	}
	return host
}

// HostOfName returns the host of the ExposedHost with the given metadata.name.
func HostOfName(name string) string {
	if parent, ok := strings.CutPrefix(name, wildcardName); ok {
		return "*." + parent
	}
	return name
}

// WildcardOver returns the wildcard that covers a name, which has one label more; "" for
// a wildcard.
func WildcardOver(host string) string {
	label, parent, found := strings.Cut(host, ".")
	if label == "*" || !found {
		return ""
	}
	return "*." + parent
}

// LeaseName is the name of the Lease in usher's namespace by which its replicas elect their
// leader.
const LeaseName = "usher"

// The kinds of SourceRefs that are routers of a Traefik without Kubernetes, as its API shows
// them. Their namespace is the provider.
const (
	KindTraefikRouter    = "TraefikRouter"
	KindTraefikRouterTCP = "TraefikRouterTCP"
)

// IsRouter reports whether the source is a router of Traefik's API, and no object of
// Kubernetes.
func (r *SourceRef) IsRouter() bool {
	return r.Kind == KindTraefikRouter || r.Kind == KindTraefikRouterTCP
}
