package main

import (
	"context"
	"errors"
	"fmt"
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
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/jovalle/usher/cmd/usher/admin"
	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/controllers/manifest"
	"github.com/jovalle/usher/proxy"
	"github.com/jovalle/usher/proxy/routing"
	"github.com/jovalle/usher/proxy/selfaddr"
	"github.com/jovalle/usher/proxy/takeover"
)

// gcPercent is a GOGC that halves the garbage in memory: most of usher's memory
// is caches that rarely change, and the proxy makes hardly any garbage.
const gcPercent = 50

// leastHelloMemory is room for fifteen of the longest ClientHellos.
const leastHelloMemory = 1 << 20

// runOptions are the flags of usher run.
type runOptions struct {
	kubeconfig  string
	namespace   string
	controllers bool
	proxy       bool
	leaderElect bool
	service     string
	admin       []string
	logLevel    string
	stateDir    string
	manifests   string
	trusted     []string // --proxy-protocol-from
	helloMemory string   // --max-hello-memory
	selfCheck   []string
	handover    time.Duration // --handover-grace
	server      proxy.Server

	edge    *rest.Config // of the edge cluster; nil with --manifests
	listens atomic.Bool  // the proxy does
}

func runCommand() *cobra.Command {
	cmd, _ := newRunCommand()
	return cmd
}

// newRunCommand returns the command and what its flags set.
func newRunCommand() (*cobra.Command, *runOptions) {
	o := &runOptions{}
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
	flags.StringSliceVar(&o.admin, "admin-listen", []string{"127.0.0.1:8080"}, "`ADDRESSES` for health, readiness and metrics, which ask for no password")
	flags.DurationVar(&o.handover, "handover-grace", controllers.DefaultHandoverGrace, "how long the cluster that holds a host must have claimed it no more before another gets it; 0: at once")
	flags.StringVar(&o.service, "service", "", "`NAME` of what this process serves: another of the same name and user takes its addresses over (default: what it follows, as the namespace or the manifests)")
	flags.StringVar(&o.stateDir, "state-dir", "", "`DIR` of the routing table's snapshot, served from at a start without an API server; with --manifests, of the last good text of each file (default: none)")
	flags.StringVar(&o.manifests, "manifests", "", "`DIR` of ExposedHosts and MemberClusters in YAML or JSON files, watched, instead of an API server; with --controllers=false")
	flags.StringSliceVar(&o.trusted, "proxy-protocol-from", nil, "`CIDRS` of clients that must send a PROXY header")
	flags.StringSliceVar(&o.selfCheck, "self-check", []string{"auto"}, "`ADDRESSES` of this machine at which usher looks whether connections reach it; auto: those that it listens on; off: none")
	flags.IntVar(&o.server.MaxConnections, "max-connections", 0, "how many connections may be open; 0: what the descriptor limit allows")
	flags.IntVar(&o.server.MaxConnectionsPerClient, "max-connections-per-client", 0, "how many connections one client address may have; 0: any number")
	flags.DurationVar(&o.server.DrainTimeout, "drain-timeout", proxy.DefaultDrainTimeout, "how long open connections may go on after SIGTERM")
	flags.DurationVar(&o.server.IdleTimeout, "idle-timeout", proxy.DefaultIdleTimeout, "how long a connection may be silent")
	flags.DurationVar(&o.server.HalfClosedTimeout, "half-closed-timeout", proxy.DefaultHalfClosedTimeout, "how long a connection may be silent of which one side has ended")
	flags.DurationVar(&o.server.HelloTimeout, "hello-timeout", proxy.DefaultHelloTimeout, "how long a client may take for its ClientHello or request header")
	flags.DurationVar(&o.server.DialTimeout, "dial-timeout", proxy.DefaultDialTimeout, "how long a backend address may take to answer")
	flags.BoolVar(&o.server.AccessLog, "access-log", false, "log each TLS connection at its end")
	flags.BoolVar(&o.server.AccessLogRefused, "access-log-refused", false, "log each client that is refused, at most 200 a second")
	flags.StringVar(&o.helloMemory, "max-hello-memory", "16Mi", "`BYTES` that all TLS connections together may hold until their backends have their ClientHellos, such as 16Mi")
	flags.StringVar(&o.logLevel, "log-level", "info", "debug, info or error")
	return cmd, o
}

// validate turns flags into options, and refuses what is wrong or makes no sense
// together: all of it at once, before anything is started.
func (o *runOptions) validate() error {
	err := errors.Join(
		o.validateHalves(), o.validateManifests(), o.validateEdge(), o.validateListen(), o.validateService(),
		o.validateTrusted(), o.validateSelfCheck(), o.validateNumbers(), o.validateLogLevel())
	if err != nil {
		return &usageError{err}
	}
	return nil
}

func (o *runOptions) validateHalves() error {
	if !o.controllers && !o.proxy {
		return errors.New("--controllers=false and --proxy=false leave nothing to run")
	}
	if o.stateDir != "" && !o.proxy {
		return badFlag("state-dir", "the snapshot is the proxy's, and --proxy=false runs none")
	}
	return nil
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
	}
	if _, err := os.ReadDir(o.manifests); err != nil {
		return badFlag("manifests", "%w", err)
	}
	return nil
}

func (o *runOptions) validateNumbers() error {
	var wrong []error
	for name, d := range map[string]time.Duration{
		"drain-timeout": o.server.DrainTimeout,
		"idle-timeout":  o.server.IdleTimeout, "half-closed-timeout": o.server.HalfClosedTimeout,
		"hello-timeout": o.server.HelloTimeout, "dial-timeout": o.server.DialTimeout,
	} {
		if d <= 0 {
			wrong = append(wrong, badFlag(name, "%v is not a positive duration", d))
		}
	}
	if o.handover < 0 {
		wrong = append(wrong, badFlag("handover-grace", "%v is negative", o.handover))
	}
	memory, err := resource.ParseQuantity(o.helloMemory)
	if err != nil || memory.Value() < leastHelloMemory {
		return badFlag("max-hello-memory", "%q is not a number of bytes of at least 1Mi, such as 16Mi", o.helloMemory)
	}
	o.server.HelloMemory = memory.Value()
	if o.server.MaxConnections < 0 {
		wrong = append(wrong, badFlag("max-connections", "%d is negative", o.server.MaxConnections))
	}
	if o.server.MaxConnectionsPerClient < 0 {
		wrong = append(wrong, badFlag("max-connections-per-client", "%d is negative", o.server.MaxConnectionsPerClient))
	}
	return errors.Join(wrong...)
}

// run runs both halves until ctx ends, and then drains.
func (o *runOptions) run(ctx context.Context) error {
	if err := o.validate(); err != nil {
		return err
	}
	log := newLogger(o.logLevel)
	defer mindSignals(log)()
	o.warnOfTrusted(log)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	table := &routing.Live{}
	feed, err := o.feed(table, log)
	if err != nil {
		return err
	}
	process := o.announce(ctx, log)
	defer process.Close()
	o.server.Process = process
	adminServer := &admin.Server{Listen: o.admin, Process: process, Ready: func() error { return o.ready(feed) }, Metrics: metrics.Registry}
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
		o.server.Table, o.server.Log, o.server.Reserved = table, log.WithName("proxy"), adminServer.Addrs()
		group.Go(func() error { defer stopAdmin(); return o.serve(ctx, feed, started) })
	} else {
		context.AfterFunc(ctx, stopAdmin)
		started()
	}
	context.AfterFunc(ctx, process.Stopping)
	context.AfterFunc(ctx, adminServer.Drain)
	group.Go(func() error { return feed.run(ctx) })
	group.Go(func() error { adminServer.Serve(adminCtx); return nil })
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
	if o.proxy {
		return o.server.Reached()
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
		return newFiles(filling, o.manifests, o.stateDir)
	}
	c := &control{filling: filling, options: o, edge: o.edge}
	if o.proxy && o.controllers {
		own, err := ownAddresses(o.server.HTTPSListen, o.server.HTTPListen, o.admin)
		if err != nil {
			return nil, err
		}
		c.own = own
	}
	if o.stateDir == "" {
		return c, nil
	}
	var err error
	if c.snapshot, err = manifest.NewSnapshot(o.stateDir, log.WithName("snapshot")); err != nil {
		return nil, badFlag("state-dir", "%w", err)
	}
	return c, nil
}

// logLevels are the values of --log-level.
var logLevels = map[string]zapcore.Level{"debug": zapcore.DebugLevel, "info": zapcore.InfoLevel, "error": zapcore.ErrorLevel}

// ownAddresses returns where this process is going to listen: the controllers run
// before it does.
func ownAddresses(listen ...[]string) (*selfaddr.Set, error) {
	var own []netip.AddrPort
	for _, address := range slices.Concat(listen...) {
		addr, err := takeover.ParseAddress(address)
		if err != nil {
			return nil, err
		}
		own = append(own, addr)
	}
	return selfaddr.New(own...), nil
}

// newLogger returns the process's logger, and makes Kubernetes' libraries use it.
func newLogger(level string) logr.Logger {
	log := zap.New(zap.Level(logLevels[level]), zap.StacktraceLevel(zapcore.PanicLevel))
	ctrl.SetLogger(log)
	klog.SetLogger(log.WithName("kubernetes"))
	return log
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
		return nil, badFlag("kubeconfig", "%w", err)
	}
	if _, err := rest.TLSConfigFor(config); err != nil {
		return nil, badFlag("kubeconfig", "%w", err)
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
