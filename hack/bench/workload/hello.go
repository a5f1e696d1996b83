package workload

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"
)

// An order says what a backend is to do with a connection. It travels in the
// random of a complete, canned ClientHello (RFC 8446, section 4.1.2):
//
//	magic (8 bytes) | mode (1 byte) | count (8 bytes) | noise (15 bytes)
//
// The noise makes each the first of its kind, as a client's are: usher takes one that
// comes again, while the first is under way, for a loop.
//
// A ClientHello without the magic is a real one, and is answered by TLS.
type order struct {
	mode  byte
	count int64 // bytes to move
}

const (
	reply = 'R' // send a few bytes and close
	down  = 'D' // send count bytes and close
	up    = 'U' // read count bytes, send one and close
	rest  = 'I' // send one byte, then stay silent until the client closes
	echo  = 'E' // send one byte, then echo until the client closes
)

const (
	magic        = "usherbch"
	randomBytes  = 32
	randomAt     = recordHeader + 4 + 2 // after the message's header and the version
	recordHeader = 5
	replyBytes   = 64

	// helloBytes is a canned ClientHello's length on the wire: about what a
	// browser without a post-quantum key share sends.
	helloBytes = 517

	// maxHello bounds a real one: Go's is 1.5 KB with X25519MLKEM768.
	maxHello = 4096
)

// extension is one of a ClientHello. Those given here fill it with what any
// client sends; only the server name is looked at.
type extension struct {
	kind uint16 // IANA's TLS ExtensionType
	body []byte
}

// hello returns a TLS record that holds a ClientHello for host with the order.
func (o order) hello(host string) []byte {
	random := make([]byte, randomBytes)
	copy(random, magic)
	random[len(magic)] = o.mode
	binary.BigEndian.PutUint64(random[len(magic)+1:], uint64(o.count))
	_, _ = rand.Read(random[len(magic)+1+8:]) // it never fails: crypto/rand
	extensions := []extension{
		{0, serverName(host)},
		{10, []byte{0, 4, 0, 29, 0, 23}},                     // supported_groups: x25519, secp256r1
		{13, []byte{0, 6, 4, 3, 8, 4, 4, 1}},                 // signature_algorithms
		{16, append([]byte{0, 3, 2}, "h2"...)},               // ALPN
		{43, []byte{4, 3, 4, 3, 3}},                          // supported_versions: 1.3, 1.2
		{51, append([]byte{0, 36, 0, 29, 0, 32}, random...)}, // key_share
	}
	bare := record(random, extensions)
	const extensionHeader = 4
	if padding := helloBytes - len(bare) - extensionHeader; padding >= 0 {
		return record(random, append(extensions, extension{21, make([]byte, padding)}))
	}
	return bare
}

// serverName is the server_name extension (RFC 6066, section 3).
func serverName(host string) []byte {
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(list *cryptobyte.Builder) {
		list.AddUint8(0) // host_name
		list.AddUint16LengthPrefixed(func(name *cryptobyte.Builder) { name.AddBytes([]byte(host)) })
	})
	return b.BytesOrPanic() // a host of the bench is short
}

// record is the ClientHello in one record of TLS 1.0, as clients send it.
func record(random []byte, extensions []extension) []byte {
	var b cryptobyte.Builder
	b.AddUint8(22) // handshake
	b.AddUint16(0x0301)
	b.AddUint16LengthPrefixed(func(fragment *cryptobyte.Builder) {
		fragment.AddUint8(1) // client_hello
		fragment.AddUint24LengthPrefixed(func(body *cryptobyte.Builder) {
			body.AddUint16(0x0303)
			body.AddBytes(random)
			body.AddUint8LengthPrefixed(func(session *cryptobyte.Builder) { session.AddBytes(random) })
			body.AddUint16LengthPrefixed(func(suites *cryptobyte.Builder) { suites.AddBytes([]byte{0x13, 1, 0x13, 2, 0x13, 3}) })
			body.AddUint8LengthPrefixed(func(compression *cryptobyte.Builder) { compression.AddUint8(0) })
			body.AddUint16LengthPrefixed(func(all *cryptobyte.Builder) { addExtensions(all, extensions) })
		})
	})
	return b.BytesOrPanic()
}

func addExtensions(b *cryptobyte.Builder, extensions []extension) {
	for _, e := range extensions {
		b.AddUint16(e.kind)
		b.AddUint16LengthPrefixed(func(body *cryptobyte.Builder) { body.AddBytes(e.body) })
	}
}

var errNoHello = errors.New("the connection does not begin with a ClientHello")

// readHello reads a record into buf, and what came with it. A PROXY header
// ahead of it is dropped. The error is io.EOF when the client closed without a
// byte.
func readHello(r io.Reader, buf []byte) ([]byte, error) {
	have, err := io.ReadAtLeast(r, buf, recordHeader)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(buf[:have], proxySignature[:recordHeader]) {
		if have, err = dropProxyHeader(r, buf, have); err != nil {
			return nil, err
		}
	}
	length := recordHeader + int(binary.BigEndian.Uint16(buf[3:]))
	if buf[0] != 22 || length > len(buf) {
		return nil, errNoHello
	}
	have, err = fill(r, buf, have, length)
	return buf[:have], err
}

// proxySignature begins a PROXY header of version 2 (HAProxy's
// proxy-protocol.txt, section 2.2), which has its length at the end.
var proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")

const proxyHeader = 16 // bytes of the part that is always there

// dropProxyHeader removes a header from the have bytes in buf, and returns how
// many follow it: enough to tell how long the record is.
func dropProxyHeader(r io.Reader, buf []byte, have int) (int, error) {
	have, err := fill(r, buf, have, proxyHeader)
	if err != nil {
		return 0, err
	}
	length := proxyHeader + int(binary.BigEndian.Uint16(buf[proxyHeader-2:]))
	if length+recordHeader > len(buf) {
		return 0, errNoHello
	}
	if have, err = fill(r, buf, have, length+recordHeader); err != nil {
		return 0, err
	}
	return copy(buf, buf[length:have]), nil
}

// fill reads until buf, which has some bytes already, has at least so many.
func fill(r io.Reader, buf []byte, have, least int) (int, error) {
	if have >= least {
		return have, nil
	}
	more, err := io.ReadAtLeast(r, buf[have:], least-have)
	if err != nil {
		return have, fmt.Errorf("read a ClientHello: %w", err)
	}
	return have + more, nil
}

// orderOf returns the order in a ClientHello; ok is false where there is none.
func orderOf(hello []byte) (o order, ok bool) {
	if len(hello) < randomAt+randomBytes || string(hello[randomAt:randomAt+len(magic)]) != magic {
		return order{}, false
	}
	rest := hello[randomAt+len(magic):]
	return order{mode: rest[0], count: int64(binary.BigEndian.Uint64(rest[1:]))}, true
}
