package main

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/controllers/member"
	"github.com/jovalle/usher/proxy/limit"
)

// runOptions are the flags of usher run, as they are given.
type runOptions struct {
	kubeconfig  string
	namespace   string
	controllers bool
	proxy       bool
	leaderElect bool
	service     string
	stateDir    string
	manifests   string
	logLevel    string

	httpsListen []string
	httpListen  []string
	adminListen []string

	proxyProtocolFrom       []string
	selfCheck               []string
	maxConnections          int
	maxConnectionsPerClient int
	timeouts                limit.Timeouts
	accessLog               bool
	accessLogRefused        bool
	maxHelloMemory          string

	limits        member.Limits
	handoverGrace time.Duration
}

// addTo defines the flags, in the order in which the help lists them.
func (o *runOptions) addTo(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `FILE` of the edge cluster (default: in-cluster)")
	flags.StringVar(&o.namespace, "namespace", "", "`NAME` of the namespace of the members' kubeconfig Secrets (default: the pod's own, else "+defaultNamespace+")")
	flags.BoolVar(&o.controllers, "controllers", true, "run the control plane")
	flags.BoolVar(&o.proxy, "proxy", true, "run the data plane")
	flags.BoolVar(&o.leaderElect, "leader-elect", false, "elect one of several replicas to run the control plane")
	flags.StringSliceVar(&o.httpsListen, "https-listen", []string{":443"}, "`ADDRESSES` for TLS connections")
	flags.StringSliceVar(&o.httpListen, "http-listen", []string{":80"}, "`ADDRESSES` for plain HTTP")
	flags.StringSliceVar(&o.adminListen, "admin-listen", []string{"127.0.0.1:8080"}, "`ADDRESSES` for health, readiness and metrics, which ask for no password")
	flags.DurationVar(&o.handoverGrace, "handover-grace", controllers.DefaultHandoverGrace, "how long the cluster that holds a host must have claimed it no more before another gets it; 0: at once")
	flags.StringVar(&o.service, "service", "", "`NAME` of what this process serves: another of the same name and user takes its addresses over (default: what it follows, as the namespace or the manifests)")
	flags.StringVar(&o.stateDir, "state-dir", "", "`DIR` of the routing table's snapshot, served from at a start without an API server; with --manifests, of the last good text of each file (default: none)")
	flags.StringVar(&o.manifests, "manifests", "", "`DIR` of ExposedHosts and MemberClusters in YAML or JSON files, watched, instead of an API server; with --controllers=false")
	flags.StringSliceVar(&o.proxyProtocolFrom, "proxy-protocol-from", nil, "`CIDRS` of clients that must send a PROXY header")
	flags.StringSliceVar(&o.selfCheck, "self-check", []string{"auto"}, "`ADDRESSES` of this machine at which usher looks whether connections reach it; auto: those that it listens on; off: none")
	flags.IntVar(&o.maxConnections, "max-connections", 0, "how many connections may be open; 0: what the descriptor limit allows")
	flags.IntVar(&o.maxConnectionsPerClient, "max-connections-per-client", 0, "how many connections one client address may have; 0: any number")
	o.timeouts = limit.DefaultTimeouts()
	for _, t := range o.timeoutFlags() {
		flags.DurationVar(t.value, t.name, *t.value, t.usage)
	}
	flags.BoolVar(&o.accessLog, "access-log", false, "log each TLS connection at its end")
	flags.BoolVar(&o.accessLogRefused, "access-log-refused", false, "log each client that is refused, at most 200 a second")
	flags.StringVar(&o.maxHelloMemory, "max-hello-memory", "16Mi", "`BYTES` that all TLS connections together may hold until their backends have their ClientHellos, such as 16Mi")
	flags.IntVar(&o.limits.SourceHosts, "max-source-hosts", member.DefaultLimits.SourceHosts, "maximum number of hosts that one object publishes")
	flags.IntVar(&o.limits.MemberHosts, "max-member-hosts", member.DefaultLimits.MemberHosts, "maximum number of hosts that all objects of one member cluster publish")
	flags.StringVar(&o.logLevel, "log-level", "info", "debug, info or error")
}

// A timeoutFlag sets one of the proxy's timeouts.
type timeoutFlag struct {
	name, usage string
	value       *time.Duration
}

func (o *runOptions) timeoutFlags() []timeoutFlag {
	return []timeoutFlag{
		{"drain-timeout", "how long open connections may go on after SIGTERM", &o.timeouts.Drain},
		{"idle-timeout", "how long a connection may be silent", &o.timeouts.Idle},
		{"half-closed-timeout", "idle timeout of half-closed connections", &o.timeouts.HalfClosed},
		{"hello-timeout", "how long a client may take for its ClientHello or request header", &o.timeouts.Hello},
		{"dial-timeout", "how long a backend address may take to answer", &o.timeouts.Dial},
	}
}
