package testbed

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/hack/testbed/process"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// A Cluster is an API server and its data. Its address does not change.
// Its methods may be called from several goroutines.
type Cluster struct {
	name        string
	bed         *Bed
	credentials credentials
	address     netip.AddrPort
	config      *rest.Config
	client      client.Client

	mu        sync.Mutex
	server    *process.Process
	installed map[string][]definition // by the key of once
}

// StartCluster starts an API server, and returns when it serves. The name must be a DNS label that
// no other cluster of the bed has.
func (b *Bed) StartCluster(ctx context.Context, name string) (*Cluster, error) {
	c := &Cluster{name: name, bed: b, installed: map[string][]definition{}}
	var err error
	if c.credentials, err = makeCredentials(c.dir(), b.address); err != nil {
		return nil, fmt.Errorf("making credentials of cluster %s: %w", name, err)
	}
	err = withFreePorts(ctx, b.address, 1, func(free []netip.AddrPort) error {
		c.address, c.config = free[0], c.credentials.adminConfig(free[0])
		return c.Start(ctx)
	})
	if err != nil {
		return nil, err
	}
	if c.client, err = client.New(c.config, client.Options{Log: silent}); err != nil {
		return nil, fmt.Errorf("making a client of cluster %s: %w", name, err)
	}
	if err := c.writeKubeconfig(); err != nil {
		return nil, fmt.Errorf("writing the kubeconfig of cluster %s: %w", name, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clusters[name] = c
	return c, nil
}

// silent is a logger for clients, which otherwise warn that no process-wide logger is set.
var silent = logr.FromSlogHandler(slog.DiscardHandler)

// Name returns the name of the cluster, which is also the context in its kubeconfig.
func (c *Cluster) Name() string { return c.name }

// Address returns the address of the API server, for TLS.
func (c *Cluster) Address() netip.AddrPort { return c.address }

// Config returns a client configuration of an administrator, without a rate limit.
func (c *Cluster) Config() *rest.Config { return rest.CopyConfig(c.config) }

// Client returns an administrator's client for the kinds of client-go's scheme, and for
// unstructured objects of any kind.
func (c *Cluster) Client() client.Client { return c.client }

// Start starts the API server again after Stop, on the same port, and returns when it serves.
func (c *Cluster) Start(ctx context.Context) error {
	path, err := servers.Locate(servers.KubeAPIServer)
	if err != nil {
		return err
	}
	start := time.Now()
	p, err := c.bed.Run(c.name, nil, path, c.flags()...)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.server = p
	c.mu.Unlock()
	if err := c.awaitServing(ctx, p); err != nil {
		p.Kill()
		return fmt.Errorf("starting cluster %s: %w", c.name, portTaken(err))
	}
	c.bed.report("%s ready after %s", c.name, since(start))
	return nil
}

// Stop kills the API server, as a power failure would. Its data is kept.
func (c *Cluster) Stop() { c.process().Kill() }

// Pause suspends the API server by SIGSTOP: the kernel accepts connections, but nothing answers.
func (c *Cluster) Pause() error { return c.process().Signal(syscall.SIGSTOP) }

// Resume continues a paused API server.
func (c *Cluster) Resume() error { return c.process().Signal(syscall.SIGCONT) }

func (c *Cluster) process() *process.Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server
}

func (c *Cluster) flags() []string {
	return []string{
		"--etcd-servers=" + c.bed.etcdURL(),
		"--etcd-prefix=/" + c.name,
		"--bind-address=" + c.address.Addr().String(),
		fmt.Sprintf("--secure-port=%d", c.address.Port()),
		"--tls-cert-file=" + c.credentials.certFile,
		"--tls-private-key-file=" + c.credentials.keyFile,
		"--token-auth-file=" + c.credentials.tokensFile,
		"--service-account-issuer=https://" + c.name,
		"--service-account-key-file=" + c.credentials.serviceAccountKeyFile,
		"--service-account-signing-key-file=" + c.credentials.serviceAccountKeyFile,
		"--authorization-mode=RBAC",
		"--service-cluster-ip-range=10.0.0.0/24",
		"--disable-admission-plugins=ServiceAccount", // no controller creates the default ServiceAccount of each namespace
		"--endpoint-reconciler-type=none",            // endpoints may not be loopback addresses
	}
}

// awaitServing waits until the server is ready and has created the default namespace, which it does
// asynchronously.
func (c *Cluster) awaitServing(ctx context.Context, p *process.Process) error {
	clientset, err := kubernetes.NewForConfig(c.config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	return p.AwaitReady(ctx, func(ctx context.Context) error {
		if _, err := clientset.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err != nil {
			return err
		}
		_, err := clientset.CoreV1().Namespaces().Get(ctx, metav1.NamespaceDefault, metav1.GetOptions{})
		return err
	})
}

// dir returns the folder of the cluster's files.
func (c *Cluster) dir() string { return filepath.Join(c.bed.dataDir(), c.name) }
