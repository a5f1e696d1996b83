// Package dnsquery asks one DNS resolver for the addresses of a name, and for ECH keys. The resolver of the
// standard library also reads the machine's hosts file, which says nothing about what
// other clients see.
//
// It must not import anything of usher.
package dnsquery

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	attempts     = 2
	attemptTime  = 3 * time.Second
	maxUDP       = 1232 // bytes of a response over UDP, as DNS Flag Day 2020 recommends
	maxAddresses = 64   // of one name; the rest is not read
)

// Resolver is the address of a recursive DNS resolver.
type Resolver struct{ Address netip.AddrPort }

// Lookup returns the addresses of a name, IPv4 first, without those that a hosts file
// has. A name that does not exist, or has no address, has none. The error is that of a
// resolver that does not answer, or answers with an error or not properly.
func (r Resolver) Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	parsed, err := dnsmessage.NewName(strings.TrimSuffix(name, ".") + ".")
	if err != nil {
		return nil, fmt.Errorf("the name %q cannot be asked for: %w", name, err)
	}
	var addrs []netip.Addr
	for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
		found, err := r.ask(ctx, dnsmessage.Question{Name: parsed, Type: kind, Class: dnsmessage.ClassINET})
		if err != nil {
			return nil, fmt.Errorf("resolver %s: %w", r.Address, err)
		}
		addrs = append(addrs, found.addrs...)
	}
	return addrs, nil
}

// LookupECH is Lookup that also reports whether the name has a record of type HTTPS with
// keys for an encrypted ClientHello: RFC 9460 and RFC 9848.
func (r Resolver) LookupECH(ctx context.Context, name string) (addrs []netip.Addr, ech bool, err error) {
	if addrs, err = r.Lookup(ctx, name); err != nil || len(addrs) == 0 {
		return addrs, false, err
	}
	parsed, err := dnsmessage.NewName(strings.TrimSuffix(name, ".") + ".")
	if err != nil {
		return nil, false, fmt.Errorf("the name %q cannot be asked for: %w", name, err)
	}
	found, err := r.ask(ctx, dnsmessage.Question{Name: parsed, Type: dnsmessage.TypeHTTPS, Class: dnsmessage.ClassINET})
	if err != nil {
		return nil, false, fmt.Errorf("resolver %s: %w", r.Address, err)
	}
	return addrs, found.ech, nil
}

// resolvConf names the resolvers of this machine: resolv.conf(5).
const resolvConf = "/etc/resolv.conf"

// OfThisMachine returns the first resolver of this machine.
func OfThisMachine() (Resolver, error) {
	text, err := os.ReadFile(resolvConf)
	if err != nil {
		return Resolver{}, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if addr, err := netip.ParseAddr(fields[1]); err == nil {
			return Resolver{netip.AddrPortFrom(addr, 53)}, nil
		}
	}
	return Resolver{}, fmt.Errorf("%s names no resolver", resolvConf)
}

// ask sends a question until it is answered, over TCP if the answer is too long for UDP.
func (r Resolver) ask(ctx context.Context, question dnsmessage.Question) (answer response, err error) {
	network := "udp"
	for range attempts {
		answer, err = r.exchange(ctx, network, question)
		switch {
		case err == nil && answer.truncated && network == "udp":
			network = "tcp"
			return r.exchange(ctx, network, question)
		case err == nil:
			return answer, nil
		case ctx.Err() != nil, errors.Is(err, errRefused):
			return response{}, err
		}
	}
	return response{}, err
}

// exchange sends one query and reads its response.
func (r Resolver) exchange(ctx context.Context, network string, question dnsmessage.Question) (response, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, network, r.Address.String())
	if err != nil {
		return response{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	id, query, err := pack(question)
	if err != nil {
		return response{}, err
	}
	if network == "tcp" {
		query = append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...) //nolint:gosec // G115: a query has at most 512 bytes
	}
	if _, err := conn.Write(query); err != nil {
		return response{}, err
	}
	for {
		message, err := read(conn, network)
		if err != nil {
			return response{}, noAnswer(ctx, err)
		}
		answer, err := parse(message, id, question)
		if errors.Is(err, errOther) && network == "udp" {
			continue // late, or forged
		}
		return answer, err
	}
}

// noAnswer says that the resolver did not answer in time, if that is so.
func noAnswer(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("no answer in time")
	}
	return err
}

// read reads one message.
func read(conn net.Conn, network string) ([]byte, error) {
	if network == "udp" {
		buffer := make([]byte, maxUDP)
		n, err := conn.Read(buffer)
		return buffer[:n], err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(conn, message)
	return message, err
}

// pack returns a query with a random ID.
func pack(question dnsmessage.Question) (id uint16, query []byte, err error) {
	var random [2]byte
	_, _ = rand.Read(random[:]) // it never fails
	id = binary.BigEndian.Uint16(random[:])
	message := dnsmessage.Message{Header: dnsmessage.Header{ID: id, RecursionDesired: true}, Questions: []dnsmessage.Question{question}}
	query, err = message.Pack()
	return id, query, err
}

// response is what is read of a response.
type response struct {
	addrs     []netip.Addr
	ech       bool // an HTTPS record has ECH keys
	truncated bool
}

var (
	errOther   = errors.New("the response is to another query")
	errRefused = errors.New("the resolver answers with an error")
)

// parse reads a response. A name that does not exist is no error.
func parse(message []byte, id uint16, question dnsmessage.Question) (response, error) {
	var p dnsmessage.Parser
	header, err := p.Start(message)
	if err != nil || header.ID != id || !header.Response {
		return response{}, errOther
	}
	asked, err := p.AllQuestions()
	if err != nil || len(asked) != 1 || asked[0].Type != question.Type || !strings.EqualFold(asked[0].Name.String(), question.Name.String()) {
		return response{}, errOther
	}
	switch header.RCode {
	case dnsmessage.RCodeSuccess:
	case dnsmessage.RCodeNameError:
		return response{}, nil
	default:
		return response{}, fmt.Errorf("%w: %s", errRefused, strings.TrimPrefix(header.RCode.String(), "RCode"))
	}
	if header.Truncated {
		return response{truncated: true}, nil
	}
	return records(&p)
}

// records reads the addresses and HTTPS records of an answer. The records before them are
// the CNAME records that lead to them.
func records(p *dnsmessage.Parser) (answer response, err error) {
	for len(answer.addrs) < maxAddresses {
		header, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return response{}, fmt.Errorf("read the answer: %w", err)
		}
		var addr netip.Addr
		switch header.Type {
		case dnsmessage.TypeA:
			record, failed := p.AResource()
			addr, err = netip.AddrFrom4(record.A), failed
		case dnsmessage.TypeAAAA:
			record, failed := p.AAAAResource()
			addr, err = netip.AddrFrom16(record.AAAA), failed
		case dnsmessage.TypeHTTPS:
			record, failed := p.HTTPSResource()
			_, found := record.GetParam(dnsmessage.SVCParamECH)
			answer.ech, err = answer.ech || found, failed
		default:
			err = p.SkipAnswer()
		}
		if err != nil {
			return response{}, fmt.Errorf("read the answer: %w", err)
		}
		if addr.IsValid() && !slices.Contains(answer.addrs, addr) {
			answer.addrs = append(answer.addrs, addr)
		}
	}
	return answer, nil
}
