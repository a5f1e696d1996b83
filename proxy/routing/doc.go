// Package routing holds what the control plane and the data plane share: host names
// in canonical form, the routes from hosts to clusters, and the routing table.
//
// A [Table] is immutable. For a change, the control plane builds a new table and
// stores it in a [Live]. A lookup in progress uses the previous table.
//
// The package is pure: no I/O, no goroutine, no clock. It must not import
// Kubernetes, nor anything of proxy or controllers: both import it.
package routing
