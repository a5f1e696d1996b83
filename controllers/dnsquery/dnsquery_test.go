package dnsquery_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/jovalle/usher/controllers/dnsquery"
	"github.com/jovalle/usher/hack/test/testkit"
)

// serve answers queries on loopback, over UDP and TCP, until the test ends. Answer returns
// the messages that are sent for a query; over TCP the last one.
func serve(t *testing.T, answer func(query dnsmessage.Message, network string) [][]byte) dnsquery.Resolver {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	udp, err := net.ListenPacket("udp", listener.Addr().String())
	testkit.Must(t, err)
	t.Cleanup(func() { listener.Close(); udp.Close() })
	parse := func(b []byte) (query dnsmessage.Message) {
		if err := query.Unpack(b); err != nil {
			t.Errorf("the query is malformed: %v", err)
		}
		return query
	}
	go func() {
		buffer := make([]byte, 512)
		for {
			n, from, err := udp.ReadFrom(buffer)
			if err != nil {
				return
			}
			for _, message := range answer(parse(buffer[:n]), "udp") {
				_, _ = udp.WriteTo(message, from)
			}
		}
	}()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			var length [2]byte
			_, _ = io.ReadFull(conn, length[:])
			query := make([]byte, binary.BigEndian.Uint16(length[:]))
			_, _ = io.ReadFull(conn, query)
			messages := answer(parse(query), "tcp")
			last := messages[len(messages)-1]
			_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(last))), last...))
			conn.Close()
		}
	}()
	return dnsquery.Resolver{Address: netip.MustParseAddrPort(listener.Addr().String())}
}

// reply is a response with addresses after a CNAME record.
func reply(t *testing.T, query dnsmessage.Message, addrs int) dnsmessage.Message {
	t.Helper()
	question := query.Questions[0]
	query.Response, query.RecursionAvailable = true, true
	header := dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 1}
	query.Answers = append(query.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("target.example.net.")}})
	for i := range addrs {
		var body dnsmessage.ResourceBody = &dnsmessage.AResource{A: [4]byte{203, 0, 113, byte(i)}}
		if question.Type == dnsmessage.TypeAAAA {
			body = &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", i)).As16()}
		}
		query.Answers = append(query.Answers, dnsmessage.Resource{Header: header, Body: body})
	}
	return query
}

func pack(t *testing.T, message dnsmessage.Message) []byte {
	t.Helper()
	packed, err := message.Pack()
	testkit.Must(t, err)
	return packed
}

func TestLookup(t *testing.T) {
	for name, test := range map[string]struct {
		answer func(query dnsmessage.Message, network string) [][]byte
		want   string // of the addresses, or a part of the error
	}{
		"addresses": {func(q dnsmessage.Message, _ string) [][]byte { return [][]byte{pack(t, reply(t, q, 1))} }, "[203.0.113.0 2001:db8::]"},
		"none":      {func(q dnsmessage.Message, _ string) [][]byte { return [][]byte{pack(t, reply(t, q, 0))} }, "[]"},
		"no such name": {func(q dnsmessage.Message, _ string) [][]byte {
			r := reply(t, q, 0)
			r.RCode = dnsmessage.RCodeNameError
			return [][]byte{pack(t, r)}
		}, "[]"},
		"an error": {func(q dnsmessage.Message, _ string) [][]byte {
			r := reply(t, q, 1)
			r.RCode = dnsmessage.RCodeServerFailure
			return [][]byte{pack(t, r)}
		}, "the resolver answers with an error: ServerFailure"},
		"forged answers first": {func(q dnsmessage.Message, _ string) [][]byte {
			other, twisted := reply(t, q, 9), reply(t, q, 9)
			other.ID++
			twisted.Questions = []dnsmessage.Question{{Name: dnsmessage.MustNewName("other.example.net."), Type: q.Questions[0].Type, Class: dnsmessage.ClassINET}}
			return [][]byte{{0}, pack(t, other), pack(t, twisted), pack(t, reply(t, q, 1))}
		}, "[203.0.113.0 2001:db8::]"},
		"longer than UDP allows": {func(q dnsmessage.Message, network string) [][]byte {
			r := reply(t, q, 1)
			r.Truncated = network == "udp"
			return [][]byte{pack(t, r)}
		}, "[203.0.113.0 2001:db8::]"},
		"cut in two": {func(q dnsmessage.Message, _ string) [][]byte {
			m := pack(t, reply(t, q, 3))
			return [][]byte{m[:len(m)-5]}
		}, "read the answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addrs, err := serve(t, test.answer).Lookup(t.Context(), "app.techn.is")
			got := fmt.Sprint(addrs)
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, test.want) {
				t.Errorf("it is %s, want %s", got, test.want)
			}
		})
	}
}

func TestAddressesAreBounded(t *testing.T) {
	resolver := serve(t, func(q dnsmessage.Message, network string) [][]byte {
		r := reply(t, q, 200)
		if network == "udp" {
			r.Answers, r.Truncated = nil, true
		}
		return [][]byte{pack(t, r)}
	})
	addrs, err := resolver.Lookup(t.Context(), "app.techn.is")
	if testkit.Must(t, err); len(addrs) != 128 {
		t.Errorf("%d addresses are read", len(addrs))
	}
}

func TestNoAnswer(t *testing.T) {
	silent := serve(t, func(dnsmessage.Message, string) [][]byte { return nil })
	if _, err := silent.Lookup(t.Context(), "app.techn.is"); err == nil || !strings.Contains(err.Error(), "no answer in time") {
		t.Errorf("the error is %v", err)
	}
}

func TestLookupECH(t *testing.T) {
	for name, test := range map[string]struct {
		key  dnsmessage.SVCParamKey
		want bool
	}{"with keys": {dnsmessage.SVCParamECH, true}, "without": {dnsmessage.SVCParamPort, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resolver := serve(t, func(q dnsmessage.Message, _ string) [][]byte {
				if q.Questions[0].Type != dnsmessage.TypeHTTPS {
					return [][]byte{pack(t, reply(t, q, 1))}
				}
				r := reply(t, q, 0)
				record := &dnsmessage.HTTPSResource{SVCBResource: dnsmessage.SVCBResource{Priority: 1, Target: dnsmessage.MustNewName(".")}}
				record.SetParam(test.key, []byte{1, 2})
				r.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Questions[0].Name, Type: dnsmessage.TypeHTTPS, Class: dnsmessage.ClassINET}, Body: record}}
				return [][]byte{pack(t, r)}
			})
			addrs, ech, err := resolver.LookupECH(t.Context(), "app.techn.is")
			if testkit.Must(t, err); ech != test.want || len(addrs) != 2 {
				t.Errorf("it is %v, %v", addrs, ech)
			}
		})
	}
}
