package v1alpha1

import "strings"

// wildcardName is how an ExposedHost's name writes a host's leading "*.": the name of
// an object has no asterisk. The schema of ExposedHost holds names and hosts to it.
const wildcardName = "wildcard."

// NameOfHost returns the metadata.name of a host's ExposedHost.
func NameOfHost(host string) string {
	if parent, ok := strings.CutPrefix(host, "*."); ok {
		return wildcardName + parent
	}
	return host
}

// HostOfName returns the host of the ExposedHost that has a metadata.name.
func HostOfName(name string) string {
	if parent, ok := strings.CutPrefix(name, wildcardName); ok {
		return "*." + parent
	}
	return name
}
