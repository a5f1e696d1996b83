package clienthello_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jovalle/usher/proxy/clienthello"
)

// replay is a connection that only has bytes to read.
type replay struct{ io.Reader }

func (replay) Write(p []byte) (int, error)      { return len(p), nil }
func (replay) Close() error                     { return nil }
func (replay) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (replay) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (replay) SetDeadline(time.Time) error      { return nil }
func (replay) SetReadDeadline(time.Time) error  { return nil }
func (replay) SetWriteDeadline(time.Time) error { return nil }

// serverNameOf returns the server name that crypto/tls parses. ok is false if
// crypto/tls does not get as far as selecting a certificate.
func serverNameOf(stream []byte) (name string, ok bool) {
	server := tls.Server(replay{bytes.NewReader(stream)}, &tls.Config{
		MinVersion: tls.VersionTLS10,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			name, ok = hello.ServerName, true
			return nil, errors.New("seen enough")
		},
	})
	_ = server.Handshake()
	return name, ok
}

// capture returns the first flight of a crypto/tls client.
func capture(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	go func() { _ = tls.Client(client, config).Handshake() }()
	_ = server.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 1<<14)
	n, err := server.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	server.Close()
	return buf[:n]
}

func TestRealClients(t *testing.T) {
	for name, config := range map[string]*tls.Config{
		"TLS 1.0":        {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10},
		"TLS 1.2":        {MaxVersion: tls.VersionTLS12},
		"TLS 1.3":        {MinVersion: tls.VersionTLS13},
		"X25519 only":    {CurvePreferences: []tls.CurveID{tls.X25519}},
		"X25519MLKEM768": {CurvePreferences: []tls.CurveID{tls.X25519MLKEM768}},
		"ALPN":           {NextProtos: []string{"h2", "http/1.1", "acme-tls/1"}},
	} {
		t.Run(name, func(t *testing.T) {
			config.ServerName = "whoami.techn.is"
			got, err := parse(capture(t, config))
			if got != "whoami.techn.is" || err != nil {
				t.Errorf("Parse = %q, %v", got, err)
			}
			config.ServerName, config.InsecureSkipVerify = "", true // sends no server_name
			if got, err := parse(capture(t, config)); !errors.Is(err, clienthello.NoServerName) {
				t.Errorf("without a server name: Parse = %q, %v", got, err)
			}
		})
	}
}

// FuzzParse compares Parse with crypto/tls: if Parse returns a host, crypto/tls must
// parse the same name.
func FuzzParse(f *testing.F) {
	f.Add(capture(f, &tls.Config{ServerName: "a.techn.is"}), uint8(0))
	f.Add(capture(f, &tls.Config{ServerName: "a.techn.is", MaxVersion: tls.VersionTLS12}), uint8(7))
	f.Add(records(named("a.is", "b.is"), 1<<14), uint8(1))
	f.Add(records(named("WWW.a.is"), 9), uint8(3))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		host, err := parse(stream)
		if again, errAgain := inPieces(stream, int(piece)+1); again != host || !errors.Is(errAgain, err) {
			t.Fatalf("Parse = %q, %v; in pieces of %d %q, %v", host, err, int(piece)+1, again, errAgain)
		}
		if err != nil {
			if host != "" {
				t.Fatalf("Parse = %q with error %v", host, err)
			}
			return
		}
		theirs, ok := serverNameOf(stream)
		if ok && string(bytes.ToLower([]byte(theirs))) != host {
			t.Errorf("Parse = %q, crypto/tls reads %q", host, theirs)
		}
	})
}

// inPieces parses a stream that arrives in pieces of n bytes.
func inPieces(stream []byte, n int) (host string, err error) {
	var p clienthello.Parser
	for end := 0; ; end = min(end+n, len(stream)) {
		host, err = p.Parse(stream[:end])
		if end == len(stream) || !errors.Is(err, clienthello.ErrIncomplete) {
			return host, err
		}
	}
}
