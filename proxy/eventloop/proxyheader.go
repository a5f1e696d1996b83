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

// Lengths in bytes of HAProxy's proxy-protocol.txt, sections 2.1 and 2.2. The
// bound on a v2 header is go-proxyproto's.
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

// endpoints is what a PROXY header says of a connection. Both addresses are invalid
// where it says nothing: the proxy then speaks for itself.
type endpoints struct {
	client      netip.AddrPort // who connected
	destination netip.AddrPort // and where to
}

// readProxyHeader reads the PROXY header that stream begins with and returns its
// size in bytes, and what it says.
func readProxyHeader(stream []byte) (size int, says endpoints, err error) {
	size, err = headerSize(stream)
	if err != nil {
		return 0, endpoints{}, err
	}
	header, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(stream[:size])))
	if err != nil {
		return 0, endpoints{}, fmt.Errorf("read PROXY header: %w", err)
	}
	if _, err := header.TLVs(); err != nil { // Read leaves them as they are
		return 0, endpoints{}, fmt.Errorf("read PROXY header: %w", err)
	}
	if source, destination, ok := header.TCPAddrs(); ok && header.Command.IsProxy() {
		says = endpoints{unmapped(source), unmapped(destination)}
	}
	return size, says, nil
}

// unmapped returns an address, an IPv4-mapped IPv6 one as IPv4.
func unmapped(addr *net.TCPAddr) netip.AddrPort {
	mapped := addr.AddrPort()
	return netip.AddrPortFrom(mapped.Addr().Unmap(), mapped.Port())
}

// headerSize returns where the header at the start of stream ends.
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

// matchesPrefix reports whether stream begins with signature, as far as it goes.
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

// proxyHeader returns the header that tells a backend of a connection, and of the host
// that was asked for.
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
