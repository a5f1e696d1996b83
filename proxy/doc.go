// Package proxy is usher's data plane: it listens at the edge, passes TLS
// connections through to the clusters that their hosts belong to, and redirects
// or forwards plain HTTP. All it knows of hosts is a [routing.Table], which
// others keep up to date.
//
// It faces the internet. A connection that does not name a host of the table is
// refused before a backend hears of it.
//
//   - eventloop forwards TLS connections,
//   - clienthello finds the host that one asks for,
//   - routing holds hosts and routes,
//   - plainhttp redirects or forwards plain HTTP,
//   - limit counts connections, and says how long each may take,
//   - trusted says which clients speak for others,
//   - reach looks whether connections come to this process at all.
//
// Nothing here imports Kubernetes, nor the controllers: the table is all that
// the two halves of usher share.
package proxy
