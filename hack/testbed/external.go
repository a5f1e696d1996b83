package testbed

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ReserveCluster returns a cluster whose API server the caller starts, at the cluster's
// Address. That server must write a kubeconfig of an administrator to KubeconfigFile. The
// methods of the cluster may be called after Connect, except for those that start and stop
// its API server.
func (b *Bed) ReserveCluster(ctx context.Context, name string) (*Cluster, error) {
	c := &Cluster{name: name, bed: b, installed: map[string][]definition{}}
	err := withFreePorts(ctx, b.address, 1, func(free []netip.AddrPort) error {
		c.address = free[0]
		return nil
	})
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clusters[name] = c
	return c, nil
}

// connectInterval is how often Connect asks a server whether it serves.
const connectInterval = 50 * time.Millisecond

// Connect waits until the API server of a reserved cluster serves, for at most 90 s. It
// is called once.
func (c *Cluster) Connect(ctx context.Context) error {
	start := time.Now()
	var last error
	err := wait.PollUntilContextTimeout(ctx, connectInterval, readyTimeout, true, func(ctx context.Context) (bool, error) {
		last = c.connect(ctx)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("cluster %s: %w: %w", c.name, err, last)
	}
	c.bed.report("%s ready after %s", c.name, since(start))
	return nil
}

func (c *Cluster) connect(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", c.KubeconfigFile())
	if err != nil {
		return err
	}
	config.QPS = -1
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if _, err := clientset.CoreV1().Namespaces().Get(ctx, metav1.NamespaceDefault, metav1.GetOptions{}); err != nil {
		return err
	}
	c.config = config
	c.client, err = client.New(config, client.Options{Log: silent})
	return err
}
