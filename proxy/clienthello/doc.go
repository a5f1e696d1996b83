// Package clienthello finds the host that a TLS client asks for, in the first
// bytes that it sends, without being a party to the handshake.
//
// The bytes are those of a stranger. They may come in any number of pieces,
// and one ClientHello may span any number of TLS records; what is not exactly
// a ClientHello with one well-formed host name is a [Refusal], never an empty
// name.
//
// The package is pure: no I/O, no goroutine, no clock. It must not import
// Kubernetes, nor anything else of usher.
package clienthello
