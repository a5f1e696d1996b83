// Package routing holds what the control plane and the data plane share: host
// names in one canonical form, the routes that lead from them to clusters, and
// the table that a connection is looked up in.
//
// A [Table] never changes. On a change the owner builds a new one and
// swaps it into a [Live]; a connection that is being decided keeps the table
// that it began with.
//
// The package is pure: no I/O, no goroutine, no clock. It must not import
// Kubernetes, nor anything of proxy or controllers: both import it.
package routing
