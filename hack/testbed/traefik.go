package testbed

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jovalle/usher/hack/testbed/process"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// A Traefik serves a cluster's IngressRoutes and Ingresses.
type Traefik struct {
	HTTPS netip.AddrPort // entry point websecure; TLS with Traefik's own self-signed certificate
	HTTP  netip.AddrPort // entry point web
	API   netip.AddrPort // entry point traefik: its API and dashboard, by plain HTTP
	MQTTS netip.AddrPort // entry point mqtts, without default TLS

	name    string
	bed     *Bed
	cluster *Cluster // nil: it runs without Kubernetes
	args    []string
	server  *process.Process
}

// ingressClass makes Traefik serve an Ingress that names it.
const ingressClass = `
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: traefik}
spec: {controller: traefik.io/ingress-controller}
`

// StartTraefik installs Traefik's CRDs and IngressClass in the cluster and starts a Traefik for it.
// As in K3s, routers on websecure have TLS by default. Args are more flags of Traefik, such as
// proxyProtocol.trustedIPs. It returns when Traefik listens; see AwaitHost for routes.
func (c *Cluster) StartTraefik(ctx context.Context, args ...string) (*Traefik, error) {
	if err := c.InstallTraefikCRDs(ctx); err != nil {
		return nil, err
	}
	if err := c.Apply(ctx, ingressClass); err != nil {
		return nil, err
	}
	return c.bed.startTraefik(ctx, c.name, c, args)
}

// StartTraefik starts a Traefik without Kubernetes and without a provider: args name one. Its
// API is served where a router of that provider leads to api@internal.
func (b *Bed) StartTraefik(ctx context.Context, name string, args ...string) (*Traefik, error) {
	return b.startTraefik(ctx, name, nil, args)
}

func (b *Bed) startTraefik(ctx context.Context, name string, c *Cluster, args []string) (t *Traefik, err error) {
	err = withFreePorts(ctx, b.address, 4, func(free []netip.AddrPort) error {
		t = &Traefik{HTTPS: free[0], HTTP: free[1], API: free[2], MQTTS: free[3], name: name + "-traefik", bed: b, cluster: c, args: args}
		return t.Start(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("starting Traefik of %s: %w", name, err)
	}
	return t, nil
}

// Stop kills Traefik.
func (t *Traefik) Stop() { t.server.Kill() }

// Pause stops Traefik from running: it answers nothing, and the kernel still accepts
// connections for it.
func (t *Traefik) Pause() error { return t.server.Signal(syscall.SIGSTOP) }

// Resume continues a paused Traefik.
func (t *Traefik) Resume() error { return t.server.Signal(syscall.SIGCONT) }

// Start starts a stopped Traefik again, on the same addresses, and returns when it listens.
func (t *Traefik) Start(ctx context.Context) error {
	path, err := servers.Locate(servers.Traefik)
	if err != nil {
		return err
	}
	start := time.Now()
	var env []string
	if t.cluster != nil {
		env = []string{"KUBECONFIG=" + t.cluster.KubeconfigFile()}
	}
	if t.server, err = t.bed.Run(t.name, env, path, append(t.flags(), t.args...)...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	err = t.server.AwaitReady(ctx, func(ctx context.Context) error {
		_, err := fetch(ctx, http.DefaultClient, fmt.Sprintf("http://%s/ping", t.API))
		return err
	})
	if err != nil {
		t.Stop()
		return portTaken(err)
	}
	t.bed.report("%s ready after %s", t.name, since(start))
	return nil
}

func (t *Traefik) flags() []string {
	flags := []string{
		"--global.checkNewVersion=false",
		"--global.sendAnonymousUsage=false",
		"--entryPoints.websecure.address=" + t.HTTPS.String(),
		"--entryPoints.websecure.http.tls=true",
		"--entryPoints.web.address=" + t.HTTP.String(),
		"--entryPoints.traefik.address=" + t.API.String(),
		"--entryPoints.mqtts.address=" + t.MQTTS.String(),
		"--ping=true",
		"--accessLog=true",
		"--providers.providersThrottleDuration=100ms", // 2s by default: tests wait for changes
	}
	if t.cluster == nil {
		return append(flags, "--api=true")
	}
	return append(flags,
		"--api.insecure=true",
		"--providers.kubernetesCRD=true",
		"--providers.kubernetesCRD.allowExternalNameServices=true", // for apps; see StartApp
		"--providers.kubernetesIngress=true",
		"--providers.kubernetesIngress.allowExternalNameServices=true",
	)
}

// AwaitHost waits until Traefik has loaded a router, HTTP or TCP, whose rule names host literally.
func (t *Traefik) AwaitHost(ctx context.Context, host string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	return t.server.AwaitReady(ctx, func(ctx context.Context) error { return t.routes(ctx, host) })
}

// A routerSet is the part of Traefik's /api/rawdata that AwaitHost reads.
type routerSet struct {
	Routers    map[string]router `json:"routers"`    // name → HTTP router
	TCPRouters map[string]router `json:"tcpRouters"` // name → TCP router
}

type router struct{ Rule, Status string }

// routes returns nil if Traefik has a working router for host now.
func (t *Traefik) routes(ctx context.Context, host string) error {
	answer, err := fetch(ctx, http.DefaultClient, fmt.Sprintf("http://%s/api/rawdata", t.API))
	if err != nil {
		return err
	}
	var loaded routerSet
	if err := json.Unmarshal(answer, &loaded); err != nil {
		return err
	}
	for _, routers := range []map[string]router{loaded.Routers, loaded.TCPRouters} {
		for _, r := range routers {
			if r.Status == "enabled" && r.names(host) {
				return nil
			}
		}
	}
	return fmt.Errorf("no router names %s", host)
}

// names reports whether host is one of the rule's string literals, in double quotes or backquotes.
func (r router) names(host string) bool {
	return strings.Contains(r.Rule, "`"+host+"`") || strings.Contains(r.Rule, strconv.Quote(host))
}
