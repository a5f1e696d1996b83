package servers

import (
	"slices"
	"time"
)

// A target is one file in the cache: a program built from a pinned module, or
// manifests copied out of one.
type target struct {
	name      string // the file's name
	pins      string // folder next to this file whose go.mod pins the module
	pkg       string // the program's package; empty for manifests
	module    string // module that the version or the manifests are taken from
	version   string // variable for the program's version, set by the linker; empty: none is needed
	tags      string // build tags
	manifests string // the manifests' paths in the module, as a glob; several by a space
	onRequest bool   // Build builds it only if it is named
	// takes is the time that its build takes on two idle cores, in the order of the catalogue, after
	// usher, and from empty caches. It is for the estimate of Build only.
	takes time.Duration
}

const (
	kubernetes = "k8s.io/kubernetes"
	traefik    = "github.com/traefik/traefik/v3"

	externalDNS = "sigs.k8s.io/external-dns"

	minute = time.Minute

	operatorCRDs = "example/prometheus-operator-crd/monitoring.coreos.com_"
)

// The catalogue lists all targets, in the order in which they are built.
var catalogue = []target{
	{name: Etcd, pins: "etcd", pkg: "go.etcd.io/etcd/server/v3", takes: 2 * minute / 3},
	kube(KubeAPIServer, 11*minute/2),
	kube(KubeControllerManager, 90*time.Second),
	kube(Kubectl, minute),
	{name: Traefik, pins: "traefik", pkg: traefik + "/cmd/traefik", module: traefik, version: traefik + "/pkg/version.Version", takes: 5 * minute / 2},
	{name: TraefikCRDs, pins: "traefik", module: traefik,
		manifests: "docs/content/reference/dynamic-configuration/kubernetes-crd-definition-v1.yml"},
	{name: GatewayCRDs, pins: "traefik", module: "sigs.k8s.io/gateway-api", manifests: "config/crd/standard/*.yaml"},
	{name: Helm, pins: "helm", pkg: "helm.sh/helm/v4/cmd/helm", module: "helm.sh/helm/v4", version: "helm.sh/helm/v4/internal/version.version", takes: minute},
	{name: Promtool, pins: "prometheus", pkg: "github.com/prometheus/prometheus/cmd/promtool",
		tags: "remove_all_sd", takes: 3 * minute / 2}, // without the clients of every cloud
	{name: PrometheusCRDs, pins: "prometheus-operator", module: "github.com/prometheus-operator/prometheus-operator",
		manifests: operatorCRDs + "servicemonitors.yaml " + operatorCRDs + "prometheusrules.yaml"},
	requested(target{name: ExternalDNS, pins: "external-dns", pkg: externalDNS, module: externalDNS, version: externalDNS + "/pkg/apis/externaldns.Version", takes: 5 * minute}),
	{name: ExternalDNSCRDs, pins: "external-dns", module: externalDNS, manifests: "charts/external-dns/crds/dnsendpoints.externaldns.k8s.io.yaml"},
	requested(kube("kubelet", minute)),
	requested(kube("kube-scheduler", minute/2)),
	requested(kube("kube-proxy", minute/2)),
}

// The files that Build builds if none is named.
const (
	Etcd          = "etcd"
	KubeAPIServer = "kube-apiserver"
	// KubeControllerManager is for clusters with StartControllers.
	KubeControllerManager = "kube-controller-manager"
	Kubectl               = "kubectl"
	Traefik               = "traefik"
	TraefikCRDs           = "traefik-crds.yaml" // Traefik's kinds, group traefik.io
	GatewayCRDs           = "gateway-crds.yaml" // the Gateway API's standard channel
	Helm                  = "helm"
	Promtool              = "promtool"               // tests Prometheus' rules
	ExternalDNS           = "external-dns"           // makes DNS records from DNSEndpoints
	ExternalDNSCRDs       = "external-dns-crds.yaml" // DNSEndpoint
	PrometheusCRDs        = "prometheus-crds.yaml"   // the Prometheus Operator's ServiceMonitor and PrometheusRule
)

func kube(name string, takes time.Duration) target {
	return target{name: name, pins: "kube", pkg: kubernetes + "/cmd/" + name, module: kubernetes,
		version: "k8s.io/component-base/version.gitVersion", takes: takes}
}

// requested marks a target that Build builds only if it is named.
func requested(t target) target {
	t.onRequest = true
	return t
}

func find(name string) (target, bool) {
	i := slices.IndexFunc(catalogue, func(t target) bool { return t.name == name })
	if i < 0 {
		return target{}, false
	}
	return catalogue[i], true
}

func byDefault() []string {
	var names []string
	for _, t := range catalogue {
		if !t.onRequest {
			names = append(names, t.name)
		}
	}
	return names
}
