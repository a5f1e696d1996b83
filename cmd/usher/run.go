package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/jovalle/usher/cmd/usher/admin"
	"github.com/jovalle/usher/controllers/manifest"
	"github.com/jovalle/usher/proxy"
	"github.com/jovalle/usher/proxy/routing"
	"github.com/jovalle/usher/proxy/selfaddr"
)

// gcPercent is a GOGC that halves the garbage in memory: most of usher's memory
// is caches that rarely change, and the proxy makes hardly any garbage.
const gcPercent = 50

// runOptions are the flags of usher run.
type runOptions struct {
	kubeconfig  string
	namespace   string
	controllers bool
	proxy       bool
	leaderElect bool
	admin       []string
	logLevel    string
	stateDir    string
	manifests   string
	trusted     []string // --proxy-protocol-from
	server      proxy.Server

	listens atomic.Bool // the proxy does
}

func runCommand() *cobra.Command {
	o := runOptions{}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the controllers and the proxy",
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `FILE` of the edge cluster (default: in-cluster)")
	flags.StringVar(&o.namespace, "namespace", "", "`NAME` of the namespace of the members' kubeconfig Secrets (default: the pod's own, else "+defaultNamespace+")")
	flags.BoolVar(&o.controllers, "controllers", true, "run the control plane")
	flags.BoolVar(&o.proxy, "proxy", true, "run the data plane")
	flags.BoolVar(&o.leaderElect, "leader-elect", false, "elect one of several replicas to run the control plane")
	flags.StringSliceVar(&o.server.HTTPSListen, "https-listen", []string{":443"}, "`ADDRESSES` for TLS connections")
	flags.StringSliceVar(&o.server.HTTPListen, "http-listen", []string{":80"}, "`ADDRESSES` for plain HTTP")
	flags.StringSliceVar(&o.admin, "admin-listen", []string{":8080"}, "`ADDRESSES` for health, readiness and metrics")
	flags.StringVar(&o.stateDir, "state-dir", "", "`DIR` of the routing table's snapshot, served from at a start without an API server (default: none)")
	flags.StringVar(&o.manifests, "manifests", "", "`DIR` of ExposedHosts and MemberClusters in YAML or JSON files, watched, instead of an API server; with --controllers=false")
	flags.StringSliceVar(&o.trusted, "proxy-protocol-from", nil, "`CIDRS` of clients that must send a PROXY header")
	flags.IntVar(&o.server.MaxConnections, "max-connections", 0, "how many connections may be open; 0: what the descriptor limit allows")
	flags.IntVar(&o.server.MaxConnectionsPerClient, "max-connections-per-client", 0, "how many connections one client address may have; 0: any number")
	flags.DurationVar(&o.server.DrainTimeout, "drain-timeout", proxy.DefaultDrainTimeout, "how long open connections may go on after SIGTERM")
	flags.DurationVar(&o.server.IdleTimeout, "idle-timeout", proxy.DefaultIdleTimeout, "how long a connection may be silent")
	flags.DurationVar(&o.server.HalfClosedTimeout, "half-closed-timeout", proxy.DefaultHalfClosedTimeout, "how long a connection may be silent of which one side has ended")
	flags.DurationVar(&o.server.HelloTimeout, "hello-timeout", proxy.DefaultHelloTimeout, "how long a client may take for its ClientHello or request header")
	flags.DurationVar(&o.server.DialTimeout, "dial-timeout", proxy.DefaultDialTimeout, "how long a backend address may take to answer")
	flags.BoolVar(&o.server.AccessLog, "access-log", false, "log each TLS connection at its end")
	flags.StringVar(&o.logLevel, "log-level", "info", "debug, info or error")
	return cmd
}

// validate turns flags into options, and refuses what makes no sense together.
func (o *runOptions) validate() error {
	if !o.controllers && !o.proxy {
		return &usageError{errors.New("--controllers=false and --proxy=false leave nothing to run")}
	}
	if o.stateDir != "" && !o.proxy {
		return badFlag("state-dir", "the snapshot is the proxy's, and --proxy=false runs none")
	}
	if err := o.validateManifests(); err != nil {
		return err
	}
	for _, cidr := range o.trusted {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			return badFlag("proxy-protocol-from", "%w", err)
		}
		o.server.ProxyProtocolFrom = append(o.server.ProxyProtocolFrom, prefix.Masked())
	}
	if o.namespace == "" {
		o.namespace = ownNamespace()
	}
	return o.validateNumbers()
}

// validateManifests refuses what needs an API server beside --manifests.
func (o *runOptions) validateManifests() error {
	switch {
	case o.manifests == "":
		return nil
	case o.controllers || !o.proxy:
		return badFlag("manifests", "files feed the proxy alone: add --controllers=false, and leave --proxy on")
	case o.kubeconfig != "":
		return badFlag("manifests", "files stand in for an API server: leave --kubeconfig out")
	case o.stateDir != "":
		return badFlag("manifests", "files need no snapshot: leave --state-dir out")
	}
	return nil
}

func (o *runOptions) validateNumbers() error {
	for name, d := range map[string]time.Duration{
		"drain-timeout": o.server.DrainTimeout,
		"idle-timeout":  o.server.IdleTimeout, "half-closed-timeout": o.server.HalfClosedTimeout,
		"hello-timeout": o.server.HelloTimeout, "dial-timeout": o.server.DialTimeout,
	} {
		if d <= 0 {
			return badFlag(name, "%v is not a positive duration", d)
		}
	}
	if o.server.MaxConnections < 0 {
		return badFlag("max-connections", "%d is negative", o.server.MaxConnections)
	}
	if o.server.MaxConnectionsPerClient < 0 {
		return badFlag("max-connections-per-client", "%d is negative", o.server.MaxConnectionsPerClient)
	}
	return nil
}

// run runs both halves until ctx ends, and then drains.
func (o *runOptions) run(ctx context.Context) error {
	if err := o.validate(); err != nil {
		return err
	}
	log, err := newLogger(o.logLevel)
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	table := &routing.Live{}
	feed, err := o.feed(table, log)
	if err != nil {
		return err
	}
	adminServer := &admin.Server{Listen: o.admin, Ready: func() error { return o.ready(feed) }, Metrics: metrics.Registry}
	if err := adminServer.Bind(); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	adminCtx, stopAdmin := context.WithCancel(context.WithoutCancel(ctx)) // it says that usher drains, and ends by itself
	defer stopAdmin()
	started := func() {
		log.Info("Started", "version", version, "https", o.server.HTTPSAddrs(), "http", o.server.HTTPAddrs(), "admin", adminServer.Addrs())
	}
	if o.proxy {
		o.server.Table, o.server.Log = table, log.WithName("proxy")
		group.Go(func() error { defer stopAdmin(); return o.serve(ctx, feed, started) })
	} else {
		context.AfterFunc(ctx, stopAdmin)
		started()
	}
	context.AfterFunc(ctx, adminServer.Drain)
	group.Go(func() error { return feed.run(ctx) })
	group.Go(func() error { return adminServer.Serve(adminCtx) })
	err = group.Wait()
	log.Info("Stopped")
	return err
}

// serve runs the proxy. It listens once the table is filled: until then it would
// refuse clients that a process which shares the addresses still serves.
func (o *runOptions) serve(ctx context.Context, feed feed, started func()) error {
	select {
	case <-ctx.Done():
		return nil
	case <-feed.filled():
	}
	if err := o.server.Listen(); err != nil {
		return err
	}
	if err := metrics.Registry.Register(o.server.Collector()); err != nil {
		return fmt.Errorf("register the proxy's metrics: %w", err)
	}
	o.listens.Store(true)
	started()
	return o.server.Serve(ctx)
}

// ready returns what usher still waits for before it serves, or nil.
func (o *runOptions) ready(feed feed) error {
	if err := feed.ready(); err != nil {
		return err
	}
	if o.proxy && !o.listens.Load() {
		return errors.New("the proxy does not listen yet")
	}
	return nil
}

// feed is what fills the routing table: the edge cluster, or files.
type feed interface {
	// run goes on until its context ends.
	run(ctx context.Context) error
	// ready returns what the table still waits for, or nil.
	ready() error
	// filled is closed when the table was filled first.
	filled() <-chan struct{}
}

// feed returns the feed that the flags ask for.
func (o *runOptions) feed(table *routing.Live, log logr.Logger) (feed, error) {
	filling := newFilling(table, log)
	if o.manifests != "" {
		return &files{filling: filling, dir: o.manifests}, nil
	}
	edge, err := edgeConfig(o.kubeconfig)
	if err != nil {
		return nil, err
	}
	c := &control{filling: filling, options: o, edge: edge}
	if o.proxy && o.controllers {
		if c.own, err = ownAddresses(o.server.HTTPSListen, o.server.HTTPListen, o.admin); err != nil {
			return nil, err
		}
	}
	if o.stateDir == "" {
		return c, nil
	}
	if c.snapshot, err = manifest.NewSnapshot(o.stateDir, log.WithName("snapshot")); err != nil {
		return nil, fmt.Errorf("--state-dir: %w", err)
	}
	return c, nil
}

// ownAddresses returns where this process is going to listen: the controllers run
// before it does.
func ownAddresses(listen ...[]string) (*selfaddr.Set, error) {
	var own []netip.AddrPort
	for _, address := range slices.Concat(listen...) {
		tcp, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", address, err)
		}
		addr := tcp.AddrPort()
		if !addr.Addr().IsValid() { // of no host: every address
			addr = netip.AddrPortFrom(netip.IPv6Unspecified(), addr.Port())
		}
		own = append(own, addr)
	}
	return selfaddr.New(own...), nil
}

// newLogger returns the process's logger, and makes Kubernetes' libraries use it.
func newLogger(level string) (logr.Logger, error) {
	var parsed zapcore.Level
	if err := parsed.UnmarshalText([]byte(level)); err != nil || (level != "debug" && level != "info" && level != "error") {
		return logr.Logger{}, badFlag("log-level", "%q is none of debug, info, error", level)
	}
	log := zap.New(zap.Level(parsed), zap.StacktraceLevel(zapcore.PanicLevel))
	ctrl.SetLogger(log)
	klog.SetLogger(log.WithName("kubernetes"))
	return log, nil
}

// edgeConfig returns how to reach the edge cluster.
func edgeConfig(file string) (*rest.Config, error) {
	config, err := rest.InClusterConfig()
	if file != "" {
		config, err = clientcmd.BuildConfigFromFlags("", file)
	}
	switch {
	case errors.Is(err, rest.ErrNotInCluster):
		return nil, badFlag("kubeconfig", "usher does not run in a cluster: give the edge cluster's kubeconfig")
	case err != nil:
		return nil, fmt.Errorf("--kubeconfig: %w", err)
	}
	config.QPS = -1 // the API server's own fairness bounds what we ask
	config.UserAgent = "usher/" + version
	return config, nil
}

// podNamespace is where Kubernetes tells a pod its namespace.
const podNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// ownNamespace returns the pod's namespace, else the default one.
func ownNamespace() string {
	data, err := os.ReadFile(podNamespace)
	if name := strings.TrimSpace(string(data)); err == nil && name != "" {
		return name
	}
	return defaultNamespace
}
