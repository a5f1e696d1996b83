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
	// requestTimeout bounds a request from connect to the last byte.
	requestTimeout = 30 * time.Second
	// maxBody is how many bytes of a response are read. Traefik's list of routers is the longest.
	maxBody = 16 << 20
)

// ClientTo returns an HTTP client that connects to address, HOST:PORT, for every URL. For https it
// sends the host of the URL as SNI, and accepts any certificate. It makes a new connection for each
// request, and does not follow redirects.
func ClientTo(address string) *http.Client { return clientOf("tcp", address) }

// ProxyProtocolClientTo returns a client like ClientTo that sends a PROXY header, version 2, as a
// load balancer does. The header gives client as the source address.
func ProxyProtocolClientTo(address string, client netip.Addr) *http.Client {
	proxied := ClientTo(address)
	transport := proxied.Transport.(*http.Transport)
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
	return proxied
}

func clientOf(network, address string) *http.Client {
	return &http.Client{
		Timeout:       requestTimeout,
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

// GetAnswer sends a GET request for url and returns the answer of the App behind it. It returns an
// error if the answer is not an App's.
func GetAnswer(ctx context.Context, client *http.Client, url string) (Answer, error) {
	body, err := fetch(ctx, client, url)
	if err != nil {
		return Answer{}, err
	}
	var answer Answer
	if err := json.Unmarshal(body, &answer); err != nil || answer.App == "" {
		return Answer{}, fmt.Errorf("%s: the answer is not an app's: %.100q", url, body)
	}
	return answer, nil
}

// fetch returns the body of url. A status other than 200 is an error.
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
	return io.ReadAll(io.LimitReader(response.Body, maxBody))
}
