// Package allowfrom reads allow-from lists: the lists of clients that may connect to a
// host. It is the only place that reads names of NetworkLists, combines lists that have
// names, and resolves the names.
//
// It is pure: the control plane, the routing table and manifests all use the same code.
// It must not import Kubernetes clients, nor anything of proxy except proxy/routing.
package allowfrom
