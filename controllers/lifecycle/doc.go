// Package lifecycle runs usher's process: a feed that updates the routing table, and
// the proxy that uses it. A failure of the feed ends no connection.
//
//   - [EdgeFeed] runs the reconcilers of the edge cluster, in a manager that is
//     replaced when it fails,
//   - [FileFeed] reads manifests instead,
//   - [Process] starts the proxy once the table is filled, and reports readiness.
//
// The package must not import cmd, nor anything of proxy except proxy/routing: the
// proxy is an interface.
package lifecycle
