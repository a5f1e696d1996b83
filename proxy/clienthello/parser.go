package clienthello

import (
	"encoding/binary"
	"errors"
)

// MaxSize bounds a ClientHello, in bytes of the stream, including the headers of
// its records. Real ones have 200 to 4,000 bytes.
const MaxSize = 64 << 10

// ErrIncomplete means that the bytes so far may be the beginning of a ClientHello.
var ErrIncomplete = errors.New("the ClientHello is not complete yet")

// Refusal is the reason why a stream has no valid host name. It is an error.
type Refusal uint8

const (
	// NotTLS: the stream does not begin with a TLS handshake record.
	NotTLS Refusal = iota + 1
	// Malformed: the first message is not a well-formed ClientHello.
	Malformed
	// TooLong: the ClientHello has more than MaxSize bytes.
	TooLong
	// NoServerName: the ClientHello is well-formed and has no host name.
	NoServerName
	// BadServerName: the server name is not one host name as RFC 6066, section 3,
	// requires: there are two names, or the name is an IP address, has a trailing
	// dot, or contains a character that host names cannot contain.
	BadServerName
)

// Error implements error.
func (r Refusal) Error() string {
	switch r {
	case NotTLS:
		return "not TLS"
	case Malformed:
		return "malformed ClientHello"
	case TooLong:
		return "ClientHello too long"
	case NoServerName:
		return "no server name"
	case BadServerName:
		return "bad server name"
	}
	return "unknown refusal"
}

// Lengths and codes of RFC 8446: sections 5.1 (records) and 4 (handshake).
const (
	recordHeader    = 5
	maxFragment     = 1 << 14
	typeHandshake   = 22
	majorVersion    = 3
	messageHeader   = 4
	typeClientHello = 1
)

// Parser parses the ClientHello at the start of one stream. The zero value is ready
// to use.
type Parser struct {
	next    int // offset of the next record header in the stream
	message int // handshake bytes in the records before next
	size    int // of the whole handshake message; 0 if not known yet

	outer bool // see OuterECH
}

// Parse returns the host name in the ClientHello, in lower case. stream must hold
// all bytes received so far. After ErrIncomplete, call Parse again with more bytes.
// Any other error is a Refusal, and final. ErrIncomplete is never returned for
// MaxSize bytes or more.
//
// A call parses only records that are new, so that a stream that arrives byte by
// byte takes about as much time as one that arrives at once.
func (p *Parser) Parse(stream []byte) (host string, err error) {
	for p.size == 0 || p.message < p.size {
		fragment, err := p.record(stream)
		if err != nil {
			return "", err
		}
		p.next += recordHeader + len(fragment)
		p.message += len(fragment)
		if p.size == 0 && p.message >= messageHeader {
			p.size = messageHeader + messageLength(p.join(stream))
		}
	}
	if p.message > p.size {
		return "", Malformed // a client sends nothing more before the ServerHello
	}
	host, p.outer, err = serverName(p.join(stream))
	return host, err
}

// OuterECH reports whether the ClientHello has an encrypted_client_hello extension of
// type outer (RFC 9849, section 5): the host that Parse returned may then be the public
// name of the client's ECH configuration instead of the host that the client wants.
// Browsers without such a configuration send a meaningless extension of this form
// (GREASE, section 6.2), so that it alone says nothing. It is valid after Parse has
// returned a host.
func (p *Parser) OuterECH() bool { return p.outer }

// Size returns the size of the ClientHello in bytes of the stream, including the
// headers of its records. It is valid after Parse has returned a host.
func (p *Parser) Size() int { return p.next }

// record returns the fragment of the record at p.next.
func (p *Parser) record(stream []byte) ([]byte, error) {
	rest := stream[p.next:]
	if err := checkRecordHeader(rest, p.next == 0); err != nil {
		return nil, err
	}
	if p.next+recordHeader > MaxSize {
		return nil, TooLong
	}
	if len(rest) < recordHeader {
		return nil, ErrIncomplete
	}
	length := int(binary.BigEndian.Uint16(rest[3:]))
	if length == 0 || length > maxFragment { // RFC 8446, section 5.1
		return nil, Malformed
	}
	fragment := rest[recordHeader:min(len(rest), recordHeader+length)]
	if err := p.checkFragment(fragment); err != nil {
		return nil, err
	}
	if p.next+recordHeader+length > MaxSize {
		return nil, TooLong
	}
	if len(fragment) < length {
		return nil, ErrIncomplete
	}
	return fragment, nil
}

// checkRecordHeader checks the bytes of a header that have arrived, so that a
// stream that is not TLS is refused on its first byte.
func checkRecordHeader(header []byte, first bool) error {
	refusal := Malformed
	if first {
		refusal = NotTLS
	}
	if len(header) > 0 && header[0] != typeHandshake || len(header) > 1 && header[1] != majorVersion {
		return refusal
	}
	return nil
}

// checkFragment checks the header of the handshake message as soon as it has
// arrived, so that a stream is refused without waiting for the rest.
func (p *Parser) checkFragment(fragment []byte) error {
	switch {
	case p.message != 0 || len(fragment) == 0:
		return nil
	case fragment[0] != typeClientHello:
		return Malformed
	case len(fragment) >= messageHeader && messageLength(fragment) > MaxSize:
		return TooLong
	}
	return nil
}

// messageLength returns the length of the body according to the message header.
func messageLength(message []byte) int {
	return int(message[1])<<16 | int(message[2])<<8 | int(message[3])
}

// join returns the handshake bytes of the records before p.next. It copies them
// only if there are several records.
func (p *Parser) join(stream []byte) []byte {
	if p.next == p.message+recordHeader {
		return stream[recordHeader:p.next]
	}
	message := make([]byte, 0, p.message)
	for at := 0; at < p.next; {
		end := at + recordHeader + int(binary.BigEndian.Uint16(stream[at+3:]))
		message = append(message, stream[at+recordHeader:end]...)
		at = end
	}
	return message
}
