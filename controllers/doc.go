// Package controllers has the reconcilers, one in each file: those of MemberClusters
// and ExposedHosts run on the leader, and the one that updates the routing table runs
// on every replica. They read and write objects. The pure packages below this one make
// the decisions.
//
// The package must not import cmd. Of proxy it may import only proxy/routing.
package controllers
