// Package enroll makes a cluster a member, and takes that back. In the member it makes an
// account that can only read what usher watches; at the edge, the Secret with that account's
// kubeconfig, and the MemberCluster that refers to it.
//
// A person's command does this with the person's own rights, against two API servers. The
// controllers have no part in it: they see the Secret and the MemberCluster appear. All that is
// made carries labels that say for which member of which edge cluster, and what does not carry
// them is never written to or deleted.
//
// The package must not import cmd or proxy, nor start anything that outlives a call.
package enroll
