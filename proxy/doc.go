// Package proxy is the data plane of usher. It listens at the edge, forwards TLS
// connections to the clusters that hold their hosts, without terminating TLS, and
// redirects or forwards plain HTTP. It learns about hosts only from a
// [routing.Table], which the control plane keeps up to date.
//
// It faces the internet. A connection that does not name a host of the table is
// refused before any backend is dialled.
//
//   - eventloop forwards TLS connections,
//   - clienthello finds the host in a ClientHello,
//   - routing holds hosts and routes,
//   - plainhttp redirects or forwards plain HTTP,
//   - limit bounds the number of connections, and their times,
//   - trusted lists the clients that must send a PROXY header,
//   - reach checks whether connections reach this process at all.
//
// Nothing here imports Kubernetes, nor the controllers: the table is all that
// the two halves of usher share.
package proxy
