package testbed

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

const (
	// answerTimeout bounds a request from connect to the last byte.
	answerTimeout = 30 * time.Second
	// maxAnswer bounds what is read of an answer, in bytes; Traefik's list of routers is the
	// longest.
	maxAnswer = 16 << 20
)

// ClientTo makes an HTTP client that connects to address, HOST:PORT, whatever host a URL names:
// by TLS it sends the URL's host as SNI, and believes any certificate. It makes a connection for
// each request, and follows no redirect.
func ClientTo(address string) *http.Client { return clientOf("tcp", address) }

// AnnouncingClientTo makes a client like ClientTo that a load balancer stands before: a PROXY
// header, version 2, says that each connection is the client's of that address.
func AnnouncingClientTo(address string, client netip.Addr) *http.Client {
	announcing := ClientTo(address)
	transport := announcing.Transport.(*http.Transport)
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		source := net.TCPAddrFromAddrPort(netip.AddrPortFrom(client, 50000))
		_, err = proxyproto.HeaderProxyFromAddrs(2, source, conn.RemoteAddr()).WriteTo(conn)
		return conn, err
	}
	return announcing
}

func clientOf(network, address string) *http.Client {
	return &http.Client{
		Timeout:       answerTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // Traefik signs its own
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, network, address)
			},
		},
	}
}

// Ask gets url and returns the answer of the App behind it. Anything but an App's is an error.
func Ask(ctx context.Context, client *http.Client, url string) (Answer, error) {
	body, err := fetch(ctx, client, url)
	if err != nil {
		return Answer{}, err
	}
	var answer Answer
	if err := json.Unmarshal(body, &answer); err != nil || answer.App == "" {
		return Answer{}, fmt.Errorf("%s: not an app's answer: %.100q", url, body)
	}
	return answer, nil
}

// fetch returns what url answers with status 200.
func fetch(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, response.Status)
	}
	return io.ReadAll(io.LimitReader(response.Body, maxAnswer))
}
