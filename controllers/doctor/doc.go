// Package doctor audits exposed hosts from the outside: it connects to their backends as
// the proxy does, and looks for what a host's conditions cannot show. An audit is one
// function; what it finds is a Finding, with its evidence, its risk and its cure.
//
// It connects to nothing but the backends of the hosts that it is given and, where the
// resolver of the network sends clients there, the public address of the edge. Each TLS handshake is completed, each connection is ended by a
// close_notify, and each request names usher-doctor as its User-Agent. What backends
// answer is hostile: it is bounded, and printable in findings.
//
// It must not import Kubernetes' clients: the caller reads the objects.
package doctor
