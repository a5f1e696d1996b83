// Package traefik holds the parts of Traefik's custom resources that name hosts:
// only the fields that usher reads, so that the rest is dropped at decoding.
// Traefik's own types would bring hundreds of modules.
//
// Both API groups are here. The types of traefik.containo.us embed those of
// traefik.io, because a Go type can stand for one group in a scheme.
//
// It holds data only, and must import nothing of usher.
//
// +kubebuilder:object:generate=true
package traefik
