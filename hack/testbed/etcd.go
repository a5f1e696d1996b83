package testbed

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/jovalle/usher/hack/testbed/servers"
)

// startEtcd starts the store of all clusters. It listens on a socket in the bed's private folder
// and on no port: it asks nobody for a password.
func (b *Bed) startEtcd(ctx context.Context) error {
	path, err := servers.Locate(servers.Etcd)
	if err != nil {
		return err
	}
	start := time.Now()
	p, err := b.Run("etcd", nil, path,
		"--unsafe-no-fsync", // a bed outlives no power cut
		"--log-level=warn",
		"--data-dir="+filepath.Join(b.dataDir(), "etcd"),
		"--listen-client-urls="+b.etcdURL(),
		"--advertise-client-urls="+b.etcdURL(),
		"--listen-peer-urls=unix://"+filepath.Join(b.dataDir(), "peer.sock"),
	)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	client := clientOf("unix", b.etcdSocket())
	err = p.AwaitReady(ctx, func(ctx context.Context) error { return get(ctx, client, "http://etcd/health") })
	if err == nil {
		b.say("etcd ready after %s", since(start))
	}
	return err
}

func (b *Bed) etcdSocket() string { return filepath.Join(b.dataDir(), "etcd.sock") }

func (b *Bed) etcdURL() string { return "unix://" + b.etcdSocket() }

// clientOf makes a client that connects to one address, whatever a URL says.
func clientOf(network, address string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		},
	}}
}

// get succeeds when url answers 200.
func get(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return nil
}
