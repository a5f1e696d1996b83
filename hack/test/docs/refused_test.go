package docs

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// fail2ban returns the fail2ban filter of docs/operations.md as Go regular expressions:
// failure matches a client to ban, and date matches the time.
func fail2ban(t *testing.T) (failure, date *regexp.Regexp) {
	t.Helper()
	text := read(t, docs+"operations.md")
	option := func(name string) string {
		found := named(text, `(?m)^`+name+` = (.*)$`)
		if len(found) != 1 {
			t.Fatalf("docs/operations.md has %d lines %s", len(found), name)
		}
		return found[0]
	}
	failure = regexp.MustCompile(strings.ReplaceAll(option("failregex"), "<ADDR>", `(?:\[?(?P<addr>[0-9a-f.:]+)\]?)`))
	// fail2ban reads a time zone only by %z, and requires a word boundary after the date.
	date = regexp.MustCompile(strings.NewReplacer("%%Y", `\d{4}`, "%%m", `\d\d`, "%%d", `\d\d`, "%%H", `\d\d`, "%%M", `\d\d`, "%%S", `\d\d`,
		"%%z", `(?:Z|[+-]\d\d:?\d\d)`).Replace(option("datepattern")) + `(?:\W|$)`)
	return failure, date
}

// TestRefusedClientsAreFoundByFail2ban applies the filter of the docs to lines that
// usher writes, about clients of both ports and both IP versions.
func TestRefusedClientsAreFoundByFail2ban(t *testing.T) {
	failure, date := fail2ban(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hosts.yaml"), []byte(block(t, "`/etc/usher/manifests/hosts.yaml`")), 0o600); err != nil {
		t.Fatal(err)
	}
	log := start(t, "run", "--controllers=false", "--manifests="+dir, "--access-log-refused",
		"--admin-listen=127.0.0.1:0", "--https-listen=127.0.0.1:0,[::1]:0", "--http-listen=127.0.0.1:0")
	lines := bufio.NewScanner(log)
	started := regexp.MustCompile(`"msg":"Started".*"https":\["([^"]+)","([^"]+)"\],"http":\["([^"]+)"\]`)
	addresses := started.FindStringSubmatch(next(t, lines, `"msg":"Started"`))
	if addresses == nil {
		t.Fatal("usher does not log its addresses")
	}
	https, https6, http := addresses[1], addresses[2], addresses[3]
	for name, tt := range map[string]struct {
		address, sends string
		client, shows  string // client: to be banned
	}{
		"unknown host":             {https, hello(t, "vault.techn.is"), "127.0.0.1", `"host":"vault.techn.is","reason":"unknown_host"`},
		"unknown host, IPv6":       {https6, hello(t, "vault.techn.is"), "::1", `"host":"vault.techn.is","reason":"unknown_host"`},
		"no TLS":                   {https, "GET / HTTP/1.1\r\n\r\n", "127.0.0.1", `"host":"","reason":"not_tls"`},
		"a name that forges":       {https, hello(t, "x\",\"reason\":\"unknown_host\"}\n{\"client\":\"192.0.2.1:1"), "127.0.0.1", `"host":"","reason":"bad_server_name"`},
		"unknown host, plain":      {http, "GET / HTTP/1.1\r\nHost: vault.techn.is\r\n\r\n", "127.0.0.1", `"host":"vault.techn.is","reason":"unknown_host"`},
		"a Host that forges":       {http, "GET / HTTP/1.1\r\nHost: x\",\"client\":\"192.0.2.1:1\r\n\r\n", "", ""}, // net/http refuses it
		"a target that forges":     {http, "GET \"client\":\"192.0.2.1:1\" HTTP/1.1\r\nHost: whoami.techn.is\r\n\r\n", "", ""},
		"a client that only left":  {https, "\x16", "", `"reason":"left_before_hello"`},
		"a target of another host": {http, "GET http://vault.techn.is/ HTTP/1.1\r\nHost: whoami.techn.is\r\n\r\n", "127.0.0.1", `"host":"","reason":"bad_request"`},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.DialTimeout("tcp", tt.address, 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.WriteString(conn, tt.sends); err != nil {
				t.Fatal(err)
			}
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
			if tt.shows == "" {
				return // no line is expected
			}
			line := next(t, lines, fmt.Sprintf(`"client":%q`, conn.LocalAddr()))
			if !strings.Contains(line, tt.shows) || !date.MatchString(line) {
				t.Errorf("usher writes %s", line)
			}
			client := ""
			if match := failure.FindStringSubmatch(line); match != nil {
				client = match[failure.SubexpIndex("addr")]
			}
			if client != tt.client {
				t.Errorf("fail2ban finds %q, want %q, in %s", client, tt.client, line)
			}
		})
	}
}

// next returns the next line with words. It fails the test at a line with 192.0.2.1,
// which never connected: a client would have forged the line.
func next(t *testing.T, lines *bufio.Scanner, words string) string {
	t.Helper()
	for lines.Scan() {
		if strings.Contains(lines.Text(), "192.0.2.1") {
			t.Fatalf("a client has forged a log line: %s", lines.Text())
		}
		if strings.Contains(lines.Text(), words) {
			return lines.Text()
		}
	}
	t.Fatalf("usher's log ends without %s", words)
	return ""
}

// hello returns the first bytes of a TLS client with the server name host, which may be invalid.
func hello(t *testing.T, host string) string {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	name := "h" + strings.Repeat("o", len(host)-2) + "t" // crypto/tls refuses to send an invalid name
	go func() { _ = tls.Client(near, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake() }()
	buf := make([]byte, 16<<10)
	n, err := far.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(string(buf[:n]), name, host, 1)
}
