// Package standalone is the edge without Kubernetes: a directory with its keys, its
// kubeconfig and its store, and the process that serves its API.
//
//   - [Dir] names the files, and makes the certificates and the kubeconfig,
//   - [Supervisor] runs the API server as a process of its own, and starts it again when
//     it ends: etcd ends its process when it cannot write, and the proxy must not end.
//
// The API server itself is in controllers/apiserver, which this package must not import.
package standalone
