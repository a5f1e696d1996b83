package clienthello

import (
	"encoding/binary"
	"errors"
)

// MaxSize bounds a ClientHello, in bytes of the stream: the headers of its
// records count. Real ones take 200 to 4,000 bytes.
const MaxSize = 64 << 10

// ErrIncomplete says that the bytes so far are the beginning of a ClientHello.
var ErrIncomplete = errors.New("the ClientHello is not complete yet")

// Refusal is the reason why a stream names no host. It is an error.
type Refusal uint8

const (
	// NotTLS: the stream does not begin with a TLS handshake record.
	NotTLS Refusal = iota + 1
	// Malformed: the first message is no ClientHello, or a broken one.
	Malformed
	// TooLong: the ClientHello takes more than MaxSize bytes.
	TooLong
	// NoServerName: the ClientHello is sound and names no host.
	NoServerName
	// BadServerName: what it names is not one host name as RFC 6066,
	// section 3, wants it: two names, an IP address, a trailing dot, a byte
	// that is in no host name.
	BadServerName
)

// Error returns the reason in words.
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

// Parser reads the ClientHello at the start of one stream. The zero value is
// ready for the first byte.
type Parser struct {
	next    int // offset in the stream of the next record's header
	message int // handshake bytes in the records before it
	size    int // of the whole handshake message; 0: not known yet
}

// Parse returns the host that the stream asks for, in lower case. The stream
// is every byte received so far, from the first: after ErrIncomplete call it
// again with more. Any other error is a Refusal and final. A stream of MaxSize
// bytes is never incomplete.
//
// A call takes time for the bytes that are new to it, so that a stream that
// comes byte by byte costs no more than one that comes at once.
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
		return "", Malformed // no client says more before it has an answer
	}
	return serverName(p.join(stream))
}

// Size returns how many bytes of the stream are the ClientHello, the headers of its
// records included, once Parse has returned a host.
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

// checkRecordHeader checks as much of a header as there is, so that what is no
// TLS at all is refused on its first byte.
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

// checkFragment checks the message's header as soon as its first record shows
// it, instead of waiting for bytes that can change nothing.
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

// messageLength returns the length that a message's header gives for its body.
func messageLength(message []byte) int {
	return int(message[1])<<16 | int(message[2])<<8 | int(message[3])
}

// join returns the handshake bytes of the records before p.next: in place
// where there is one record, else a copy.
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
