package testbed

import (
	"context"
	"path/filepath"
	"time"

	"github.com/jovalle/usher/hack/testbed/servers"
)

// startEtcd starts the etcd of all clusters. It has no authentication, so it listens on a socket in
// the bed's private folder and on no port.
func (b *Bed) startEtcd(ctx context.Context) error {
	path, err := servers.Locate(servers.Etcd)
	if err != nil {
		return err
	}
	start := time.Now()
	p, err := b.Run("etcd", nil, path,
		"--unsafe-no-fsync", // the data of a bed need not survive a power failure
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
	err = p.AwaitReady(ctx, func(ctx context.Context) error {
		_, err := fetch(ctx, client, "http://etcd/health")
		return err
	})
	if err == nil {
		b.report("etcd ready after %s", since(start))
	}
	return err
}

func (b *Bed) etcdSocket() string { return filepath.Join(b.dataDir(), "etcd.sock") }

func (b *Bed) etcdURL() string { return "unix://" + b.etcdSocket() }
