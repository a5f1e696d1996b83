// Package health checks the addresses of the backends in the routing table that ask for
// it, and records in endpoint.Memory which do not pass. Without a check, only connections
// show which addresses do not answer.
//
// What is checked never costs more than it should: the number of addresses and the checks
// at once are bounded, in total and for each cluster, so that a cluster of addresses that
// are slow does not delay the checks of another. A backend may answer with anything: it
// holds a check for its timeout at most.
//
// It must not import Kubernetes.
package health
