// Package controllers holds the reconcilers, one file each: MemberClusters and
// ExposedHosts on the leader, and the one that feeds the routing table on every
// replica. They read and write objects; what is decided is decided in the pure
// packages below this one.
//
// It must not import cmd, nor anything of proxy but proxy/routing.
package controllers
