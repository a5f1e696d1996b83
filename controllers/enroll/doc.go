// Package enroll makes a cluster a member, and reverts that. In the member it creates a service
// account that can only read what usher watches. In the edge cluster it creates the Secret with
// the kubeconfig of that account, and the MemberCluster that refers to the Secret.
//
// A command does this with the permissions of the person who runs it, against two API servers. The
// controllers are not involved: they see the new Secret and MemberCluster. Labels of all created
// objects name the member and the edge cluster. The package never modifies or deletes an object
// without these labels.
//
// The package must not import cmd or proxy, nor start goroutines that outlive a call.
package enroll
