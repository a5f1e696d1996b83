// Package gatewayapi has types for kinds of the Gateway API in versions and groups that
// its Go module does not have, or has with other fields than version v1. Each embeds
// the type of version v1, because a Go type can stand for one version in a scheme, and
// all versions have the fields that usher reads.
//
// It holds data only, and must import nothing of usher.
//
// +kubebuilder:object:generate=true
package gatewayapi
