// Package lifecycle runs usher's process: a feed that keeps the routing table, and
// the proxy that serves by it. What becomes of the feed ends no connection.
//
//   - [EdgeFeed] runs the reconcilers of the edge cluster, in a manager that is
//     replaced when it fails,
//   - [FileFeed] reads manifests instead,
//   - [Process] starts the proxy once the table is filled, and knows what usher
//     still waits for before it is ready.
//
// The package must not import cmd, nor anything of proxy but proxy/routing: to it
// the proxy is an interface.
package lifecycle
