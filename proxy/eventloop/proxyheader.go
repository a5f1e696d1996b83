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

// readProxyHeader reads the PROXY header that stream begins with and returns
// its size in bytes and the client that it speaks for. The client is invalid
// where the header names none: the proxy then speaks for itself.
func readProxyHeader(stream []byte) (size int, client netip.AddrPort, err error) {
	size, err = headerSize(stream)
	if err != nil {
		return 0, netip.AddrPort{}, err
	}
	header, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(stream[:size])))
	if err != nil {
		return 0, netip.AddrPort{}, fmt.Errorf("read PROXY header: %w", err)
	}
	if source, _, ok := header.TCPAddrs(); ok && header.Command.IsProxy() {
		client = source.AddrPort()
		client = netip.AddrPortFrom(client.Addr().Unmap(), client.Port())
	}
	return size, client, nil
}

// headerSize returns where the header at the start of stream ends.
func headerSize(stream []byte) (int, error) {
	switch {
	case startsLike(stream, proxyproto.SIGV2):
		if len(stream) < fixedHeaderV2 {
			return 0, errHeaderIncomplete
		}
		size := fixedHeaderV2 + int(binary.BigEndian.Uint16(stream[fixedHeaderV2-2:]))
		return within(size, maxHeaderV2, len(stream))
	case startsLike(stream, proxyproto.SIGV1):
		end := bytes.IndexByte(stream[:min(len(stream), maxHeaderV1)], '\n')
		if end < 0 {
			return within(len(stream)+1, maxHeaderV1, len(stream))
		}
		return end + 1, nil
	}
	return 0, errNoHeader
}

// startsLike reports whether stream begins with signature, as far as it goes.
func startsLike(stream, signature []byte) bool {
	n := min(len(stream), len(signature))
	return bytes.Equal(stream[:n], signature[:n])
}

func within(size, limit, have int) (int, error) {
	switch {
	case size > limit:
		return 0, errNoHeader
	case size > have:
		return 0, errHeaderIncomplete
	}
	return size, nil
}

// proxyHeader returns the header that tells a backend of client, which
// connected to local and asked for host.
func proxyHeader(version routing.ProxyProtocol, client, local netip.AddrPort, host string) ([]byte, error) {
	number := byte(1)
	if version == routing.V2 {
		number = 2
	}
	header := proxyproto.HeaderProxyFromAddrs(number, net.TCPAddrFromAddrPort(client), net.TCPAddrFromAddrPort(local))
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
