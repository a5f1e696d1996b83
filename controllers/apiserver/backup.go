package apiserver

import (
	"context"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// An Object is an object as it is stored.
type Object struct {
	Key   string `json:"key"`
	Value []byte `json:"value"`
}

const (
	// pageSize is how many objects are read at once.
	pageSize    = 200
	dialTimeout = 5 * time.Second
)

// passing are the keys of objects that end by themselves.
var passing = []string{storePrefix + "/events/", storePrefix + "/leases/"}

func isPassing(key string) bool {
	for _, prefix := range passing {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// Save calls save for each object, all as of one moment, except Events and Leases. The
// API server of the directory must run: its etcd is asked. The working directory must be
// that of the store.
func Save(ctx context.Context, save func(Object) error) error {
	client, err := dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	var revision int64
	for from := storePrefix + "/"; ; {
		page, err := client.Get(ctx, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(storePrefix+"/")), clientv3.WithLimit(pageSize), clientv3.WithRev(revision))
		if err != nil {
			return fmt.Errorf("read the store: %w", err)
		}
		revision = page.Header.Revision
		for _, item := range page.Kvs {
			if isPassing(string(item.Key)) {
				continue
			}
			if err := save(Object{string(item.Key), item.Value}); err != nil {
				return err
			}
		}
		if !page.More {
			return nil
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

func dial(ctx context.Context) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + etcdSocket}, DialTimeout: dialTimeout, Context: ctx, Logger: zap.NewNop()})
}

// WithStore starts the etcd of a directory, without the API server, while do runs. The
// caller has the lock of the directory.
func WithStore(ctx context.Context, dir string, do func() error) error {
	etcd, err := startEtcd(ctx, dir, zap.NewNop())
	if err != nil {
		return err
	}
	defer etcd.Close()
	return do()
}

// Restore writes objects into the empty store of a directory. Next returns false after
// the last one.
func Restore(ctx context.Context, dir string, next func() (Object, bool, error)) error {
	return WithStore(ctx, dir, func() error {
		client, err := dial(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = client.Close() }()
		for {
			o, more, err := next()
			if err != nil || !more {
				return err
			}
			if !strings.HasPrefix(o.Key, storePrefix+"/") || len(o.Value) > maxRequest {
				return fmt.Errorf("%q is no object of a backup", o.Key)
			}
			if _, err := client.Put(ctx, o.Key, string(o.Value)); err != nil {
				return fmt.Errorf("write %s: %w", o.Key, err)
			}
		}
	})
}
