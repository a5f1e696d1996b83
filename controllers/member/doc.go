// Package member keeps a connection to each member cluster. It connects, reads
// the claims of the cluster's sources, watches them, and reconnects after an
// outage or when the kubeconfig has changed.
//
// Each member has its own goroutine, so that an unreachable cluster does not
// delay the others. The last cache of a member is used until a new one is in
// sync: a claim is withdrawn on evidence only, never because the cluster is
// unreachable.
//
// The package writes to no cluster and does not know MemberClusters or
// ExposedHosts: the reconcilers in controllers/ translate between them.
package member
