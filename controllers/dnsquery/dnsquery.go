// Package dnsquery asks one DNS resolver for the addresses of a name. The resolver of the
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
		addrs = append(addrs, found...)
	}
	return addrs, nil
}

// ask sends a question until it is answered, over TCP if the answer is too long for UDP.
func (r Resolver) ask(ctx context.Context, question dnsmessage.Question) (addrs []netip.Addr, err error) {
	network := "udp"
	for range attempts {
		var answer response
		answer, err = r.exchange(ctx, network, question)
		switch {
		case err == nil && answer.truncated && network == "udp":
			network = "tcp"
			answer, err = r.exchange(ctx, network, question)
			if err != nil {
				return nil, err
			}
			return answer.addrs, nil
		case err == nil:
			return answer.addrs, nil
		case ctx.Err() != nil, errors.Is(err, errRefused):
			return nil, err
		}
	}
	return nil, err
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
	addrs, err := addresses(&p)
	return response{addrs: addrs}, err
}

// addresses reads the addresses of an answer. The records before them are the CNAME
// records that lead to them.
func addresses(p *dnsmessage.Parser) ([]netip.Addr, error) {
	var addrs []netip.Addr
	for len(addrs) < maxAddresses {
		header, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the answer: %w", err)
		}
		var addr netip.Addr
		switch header.Type {
		case dnsmessage.TypeA:
			record, failed := p.AResource()
			addr, err = netip.AddrFrom4(record.A), failed
		case dnsmessage.TypeAAAA:
			record, failed := p.AAAAResource()
			addr, err = netip.AddrFrom16(record.AAAA), failed
		default:
			err = p.SkipAnswer()
		}
		if err != nil {
			return nil, fmt.Errorf("read the answer: %w", err)
		}
		if addr.IsValid() && !slices.Contains(addrs, addr) {
			addrs = append(addrs, addr)
		}
	}
	return addrs, nil
}
