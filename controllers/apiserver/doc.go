// Package apiserver is the API server of an edge without Kubernetes: custom resources,
// and the few other kinds that usher needs (Namespace, Secret, Event, Lease), on an etcd
// that runs in the same process.
//
//   - [Server] runs both; it is a process of its own, which controllers/standalone starts,
//     since etcd ends its process when it cannot write,
//   - [Save] and [Restore] are for backups.
//
// It must not import other reconcilers of usher, nor cmd and proxy.
package apiserver
