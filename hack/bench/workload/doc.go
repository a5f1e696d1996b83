// Package workload is both ends of every connection that the benchmark makes
// through a proxy: the client, which is the bench itself, and the backend, a
// process of its own. What a backend is to do stands in the ClientHello, so that
// one port serves all tests and a proxy sees nothing unusual.
//
// It knows nothing of any proxy. It must not import usher's, whose mistakes it
// would then share.
package workload
