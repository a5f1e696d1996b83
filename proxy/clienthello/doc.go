// Package clienthello finds the server name (SNI) in the first bytes of a TLS
// client, without taking part in the handshake.
//
// The bytes are untrusted. They may arrive in any number of pieces, and one
// ClientHello may span any number of TLS records. Anything but a ClientHello with
// exactly one well-formed host name is a [Refusal], never an empty name.
//
// The package is pure: no I/O, no goroutine, no clock. It must not import
// Kubernetes, nor anything else of usher.
package clienthello
