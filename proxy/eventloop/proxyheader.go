package eventloop

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	proxyproto "github.com/pires/go-proxyproto"

	"github.com/jovalle/usher/proxy/routing"
)

// Lengths in bytes: see proxy-protocol.txt of HAProxy, sections 2.1 and 2.2. The
// maximum of a v2 header is that of go-proxyproto.
const (
	maxHeaderV1    = 107
	fixedHeaderV2  = 16
	maxHeaderV2    = fixedHeaderV2 + 4096
	maxProxyHeader = maxHeaderV2
)

var (
	errHeaderIncomplete = errors.New("the PROXY header is not complete yet")
	errNoHeader         = errors.New("no PROXY header")
)

// endpoints are the addresses in a PROXY header. Both are invalid if it has none: the
// connection is then the proxy's own.
type endpoints struct {
	client      netip.AddrPort
	destination netip.AddrPort // the address that the client connected to
}

// readProxyHeader parses the PROXY header at the start of stream. It returns its size
// in bytes and the addresses in it.
func readProxyHeader(stream []byte) (size int, addrs endpoints, err error) {
	size, err = headerSize(stream)
	if err != nil {
		return 0, endpoints{}, err
	}
	header, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(stream[:size])))
	if err != nil {
		return 0, endpoints{}, fmt.Errorf("read PROXY header: %w", err)
	}
	if _, err := header.TLVs(); err != nil { // Read does not check them
		return 0, endpoints{}, fmt.Errorf("read PROXY header: %w", err)
	}
	if source, destination, ok := header.TCPAddrs(); ok && header.Command.IsProxy() {
		addrs = endpoints{unmapped(source), unmapped(destination)}
	}
	return size, addrs, nil
}

// unmapped returns an address; an IPv4-mapped IPv6 address as IPv4.
func unmapped(addr *net.TCPAddr) netip.AddrPort {
	mapped := addr.AddrPort()
	return netip.AddrPortFrom(mapped.Addr().Unmap(), mapped.Port())
}

// headerSize returns the size of the header at the start of stream.
func headerSize(stream []byte) (int, error) {
	switch {
	case matchesPrefix(stream, proxyproto.SIGV2):
		if len(stream) < fixedHeaderV2 {
			return 0, errHeaderIncomplete
		}
		size := fixedHeaderV2 + int(binary.BigEndian.Uint16(stream[fixedHeaderV2-2:]))
		return checkSize(size, maxHeaderV2, len(stream))
	case matchesPrefix(stream, proxyproto.SIGV1):
		end := bytes.IndexByte(stream[:min(len(stream), maxHeaderV1)], '\n')
		if end < 0 {
			return checkSize(len(stream)+1, maxHeaderV1, len(stream))
		}
		return end + 1, nil
	}
	return 0, errNoHeader
}

// matchesPrefix reports whether stream begins with signature, or is the beginning of
// it.
func matchesPrefix(stream, signature []byte) bool {
	n := min(len(stream), len(signature))
	return bytes.Equal(stream[:n], signature[:n])
}

func checkSize(size, limit, have int) (int, error) {
	switch {
	case size > limit:
		return 0, errNoHeader
	case size > have:
		return 0, errHeaderIncomplete
	}
	return size, nil
}

// proxyHeader returns the PROXY header for a backend. A v2 header contains the host
// too.
func proxyHeader(version routing.ProxyProtocol, c endpoints, host string) ([]byte, error) {
	number := byte(1)
	if version == routing.V2 {
		number = 2
	}
	header := proxyproto.HeaderProxyFromAddrs(number, net.TCPAddrFromAddrPort(c.client), net.TCPAddrFromAddrPort(c.destination))
	if version == routing.V2 {
		authority := proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte(host)}
		if err := header.SetTLVs([]proxyproto.TLV{authority}); err != nil {
			return nil, fmt.Errorf("add the host to the PROXY header: %w", err)
		}
	}
	formatted, err := header.Format()
	if err != nil {
		return nil, fmt.Errorf("format PROXY header: %w", err)
	}
	return formatted, nil
}
