// Package member keeps a live connection to each member cluster: it connects,
// reads what the cluster's sources claim, follows it, and reconnects when
// the cluster was away or its kubeconfig has changed.
//
// Each member has a goroutine of its own, so that a dead cluster delays nobody.
// A member's last cache goes on answering until a new one is in sync: what it
// claimed is withdrawn on evidence only, never because it is away.
//
// The package writes to no cluster and knows nothing of MemberCluster objects
// or ExposedHosts: the reconcilers in controllers/ translate.
package member
