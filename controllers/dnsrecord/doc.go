// Package dnsrecord says which DNS records an exposed host should have, and writes them
// down: as a DNSEndpoint of external-dns, as a fragment of a zone file, or as a list.
//
// There are two views of a host: what the internet sees, and what clients inside of the
// network see. Each has its own target, and so its own records.
//
// The package is pure: it does no I/O, starts no goroutine and reads no clock.
package dnsrecord
