package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

// The store's files are small: 100 hosts are less than 1 MB.
const (
	// storeQuota is how large the database may get. A store that is full refuses writes
	// until it is compacted, see maintain.
	storeQuota = 512 << 20
	// maxRequest bounds an object, as in Kubernetes.
	maxRequest = 3 << 19
	// walSegment is the size of a segment of the write-ahead log. Two are allocated ahead,
	// so that a disk that fills up has room for the writes that etcd cannot refuse.
	walSegment = 8 << 20
	// snapshotCount is how many writes are in memory, and in the log, before a snapshot.
	snapshotCount = 1000
	// defragThreshold is how many megabytes a defragmentation at the start must free.
	defragThreshold = 16
	etcdStart       = 20 * time.Second
)

// etcdSocket is the socket of etcd, relative to the directory of the store: a path of a
// socket has 107 bytes at most. Nobody but the owner may enter that directory.
const (
	etcdSocket = "client.sock"
	peerSocket = "peer.sock"
)

// startEtcd starts etcd in a directory of its own, which becomes the working directory of
// the process, and waits until it serves. It listens on Unix sockets only.
func startEtcd(ctx context.Context, dir string, log *zap.Logger) (*embed.Etcd, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chdir(dir); err != nil {
		return nil, err
	}
	wal.SegmentSizeBytes = walSegment
	client, peer := url.URL{Scheme: "unix", Host: etcdSocket}, url.URL{Scheme: "unix", Host: peerSocket}
	c := embed.NewConfig()
	c.Name, c.Dir = "usher", filepath.Join(dir, "data")
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.InitialClusterToken = "usher"
	c.QuotaBackendBytes, c.MaxRequestBytes = storeQuota, maxRequest
	c.SnapshotCount, c.SnapshotCatchUpEntries = snapshotCount, snapshotCount/2
	c.MaxSnapFiles, c.MaxWalFiles = 2, 2
	c.BootstrapDefragThresholdMegabytes = defragThreshold
	c.TickMs, c.ElectionMs = 100, 1000
	c.EnableGRPCGateway = false
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(log)
	etcd, err := embed.StartEtcd(c)
	if err != nil {
		return nil, fmt.Errorf("start etcd: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, etcdStart)
	defer cancel()
	select {
	case <-etcd.Server.ReadyNotify():
		return etcd, nil
	case err := <-etcd.Err():
		etcd.Close()
		return nil, fmt.Errorf("start etcd: %w", err)
	case <-ctx.Done():
		etcd.Close()
		return nil, errors.New("etcd did not start in time")
	}
}
