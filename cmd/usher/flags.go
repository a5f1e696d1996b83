package main

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/controllers/member"
	"github.com/jovalle/usher/proxy/limit"
)

func runCommand() *cobra.Command {
	cmd, _ := newRunCommand()
	return cmd
}

// newRunCommand returns the command and the options that its flags set.
func newRunCommand() (*cobra.Command, *runOptions) {
	o := &runOptions{}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the controllers and the proxy (on Linux only)",
		Long: `Run the controllers and the proxy. The controllers read the member clusters, and decide
which hosts are published. The proxy forwards connections to these hosts.`,
		Example: runExamples,
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	o.addTo(cmd.Flags())
	groupFlags(cmd, runGroups)
	complete(cmd, map[string]cobra.CompletionFunc{"admin-auth": oneOfThese(adminAuths...), "log-level": oneOfThese(logLevels...), "log-format": oneOfThese(logFormats...)})
	return cmd, o
}

// runOptions are the flags of usher run, before validation.
type runOptions struct {
	kubeconfig  string
	standalone  string
	apiListen   string
	apiHost     []string
	namespace   string
	controllers bool
	proxy       bool
	leaderElect bool
	service     string
	stateDir    string
	manifests   string
	historyAge  time.Duration
	historySize string
	logLevel    string
	logFormat   string

	httpsListen []string
	tlsListen   []string
	httpListen  []string
	adminListen []string
	adminHost   []string
	adminAuth   string

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
	dns           dnsFlags
	dnsResolver   string
	doctor        bool
}

// addTo defines the flags, in the order in which the help lists them.
func (o *runOptions) addTo(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `FILE` of the edge cluster (default: in-cluster)")
	flags.StringVar(&o.standalone, "standalone", "", "`DIR` of an edge without Kubernetes, such as "+defaultStandalone+": usher serves the API itself, keeps the objects in DIR, and writes DIR/kubeconfig for kubectl and the commands of usher")
	flags.StringVar(&o.apiListen, "api-listen", "127.0.0.1:6443", "`ADDRESS` of the API of --standalone; clients need a certificate")
	flags.StringSliceVar(&o.apiHost, "api-host", nil, "`NAMES` and IP addresses by which clients elsewhere reach the API of --standalone, for its certificate, besides those of this machine")
	flags.StringVar(&o.namespace, "namespace", "", "`NAME` of the namespace of the members' kubeconfig Secrets (default: the pod's own, else "+defaultNamespace+")")
	flags.BoolVar(&o.controllers, "controllers", true, "run the control plane")
	flags.BoolVar(&o.proxy, "proxy", true, "run the data plane")
	flags.BoolVar(&o.leaderElect, "leader-elect", false, "elect one of several replicas to run the control plane")
	flags.StringSliceVar(&o.httpsListen, "https-listen", []string{":443"}, "`ADDRESSES` for TLS connections")
	flags.StringArrayVar(&o.tlsListen, "tls-listen", nil, "`NAME=ADDRESSES` of a further port for TLS connections, such as mqtts=:8883, on which the hosts are served that request it by its name; may be given for several ports. With --proxy=false only the names are used: the status of a host then says which of its ports nobody listens on")
	flags.StringSliceVar(&o.httpListen, "http-listen", []string{":80"}, "`ADDRESSES` for plain HTTP")
	flags.StringSliceVar(&o.adminListen, "admin-listen", []string{"127.0.0.1:8080"}, "`ADDRESSES` for health, readiness, metrics, refused names, history, audits and the status page")
	flags.StringSliceVar(&o.adminHost, "admin-host", nil, "`NAMES` by which browsers may ask the admin listener, besides IP addresses, localhost, names without a dot, and those of Services")
	flags.StringVar(&o.adminAuth, "admin-auth", adminAuthNone, "`WHO` may read the admin listener, except health and readiness: none: everyone who reaches it; kubernetes: those with a token of the edge cluster that may get the path as a non-resource URL")
	flags.DurationVar(&o.handoverGrace, "handover-grace", controllers.DefaultHandoverGrace, "how long the holder of a host must have stopped claiming it before another cluster gets it; 0: at once")
	flags.BoolVar(&o.doctor, "doctor", true, "audit each published host every few hours, as usher doctor does; false: on demand only")
	o.dns.addTo(flags)
	flags.StringVar(&o.dnsResolver, "dns-resolver", "", "`ADDRESS` of a DNS resolver, such as 9.9.9.9:53, that is asked whether the world sees the public records (default: none)")
	flags.StringVar(&o.service, "service", "", "`NAME` of the service: a new process with the same service name and user takes over the addresses of this one (default: from the API server and namespace, or from the manifests directory)")
	flags.StringVar(&o.stateDir, "state-dir", "", "`DIR` for the snapshot of the routing table, which is served after a start without an API server; with --manifests, for the last good text of each file (default: none)")
	flags.StringVar(&o.manifests, "manifests", "", "`DIR` of YAML and JSON files with ExposedHosts, MemberClusters and NetworkLists, which is watched instead of an API server; requires --controllers=false")
	flags.DurationVar(&o.historyAge, "history-age", 90*24*time.Hour, "how long the history of what was public is kept")
	flags.StringVar(&o.historySize, "history-size", "64Mi", "`BYTES` of the history of what was public, in the directory of --state-dir, or without that flag in memory with fewer lines; at least 1Mi; 0: no history")
	flags.StringSliceVar(&o.proxyProtocolFrom, "proxy-protocol-from", nil, "`CIDRS` of clients that must send a PROXY header")
	flags.StringSliceVar(&o.selfCheck, "self-check", []string{"auto"}, "`ADDRESSES` of this machine that usher connects to, to check that connections reach it; auto: those that it listens on; off: none")
	flags.IntVar(&o.maxConnections, "max-connections", 0, "maximum number of open connections; 0: what the descriptor limit allows")
	flags.IntVar(&o.maxConnectionsPerClient, "max-connections-per-client", 0, "maximum number of open connections of one client address; 0: no limit")
	o.timeouts = limit.DefaultTimeouts()
	for _, t := range o.timeoutFlags() {
		flags.DurationVar(t.value, t.name, *t.value, t.usage)
	}
	flags.BoolVar(&o.accessLog, "access-log", false, "log each TLS connection when it ends")
	flags.BoolVar(&o.accessLogRefused, "access-log-refused", false, "log each refused client, at most 200 a second")
	flags.StringVar(&o.maxHelloMemory, "max-hello-memory", "16Mi", "`BYTES` that all TLS connections together may buffer until their ClientHellos are forwarded, such as 16Mi")
	flags.IntVar(&o.limits.SourceHosts, "max-source-hosts", member.DefaultLimits.SourceHosts, "maximum number of hosts that one object publishes")
	flags.IntVar(&o.limits.MemberHosts, "max-member-hosts", member.DefaultLimits.MemberHosts, "maximum number of hosts that all objects of one member cluster publish")
	flags.StringVar(&o.logLevel, "log-level", "info", "lowest `LEVEL` that is logged: debug, info or error")
	flags.StringVar(&o.logFormat, "log-format", formatJSON, "`FORMAT` of the log: json, or text for a person at a terminal")
}

// defaultStandalone is the directory of an edge without Kubernetes that was installed as a package.
const defaultStandalone = "/var/lib/usher"

// The values of --admin-auth.
const (
	adminAuthNone       = "none"
	adminAuthKubernetes = "kubernetes"
)

var adminAuths = []string{adminAuthNone, adminAuthKubernetes}

// The values of --log-level and --log-format.
var (
	logLevels  = []string{"debug", "info", "error"}
	logFormats = []string{formatJSON, formatText}
)

// A timeoutFlag sets one of the proxy's timeouts.
type timeoutFlag struct {
	name, usage string
	value       *time.Duration
	standard    time.Duration // its default
}

func (o *runOptions) timeoutFlags() []timeoutFlag {
	standard := limit.DefaultTimeouts()
	return []timeoutFlag{
		{"drain-timeout", "how long open connections may continue after SIGTERM", &o.timeouts.Drain, standard.Drain},
		{"idle-timeout", "idle timeout of connections", &o.timeouts.Idle, standard.Idle},
		{"half-closed-timeout", "idle timeout of half-closed connections", &o.timeouts.HalfClosed, standard.HalfClosed},
		{"hello-timeout", "how long a client may take to send its ClientHello or request header", &o.timeouts.Hello, standard.Hello},
		{"dial-timeout", "how long connecting to a backend address may take", &o.timeouts.Dial, standard.Dial},
	}
}
