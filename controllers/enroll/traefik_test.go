package enroll

import (
	"errors"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
)

// A clusterOfTwo has two Traefiks besides the one of kube-system: public without a class,
// internal with one, as Traefik's chart installs them; and what else the chart creates.
const clusterOfTwo = `
{apiVersion: v1, kind: Service, metadata: {name: public-traefik, namespace: two-public, labels: {app.kubernetes.io/name: traefik, helm.sh/chart: traefik-39.0.0}},
 spec: {type: LoadBalancer, selector: {app.kubernetes.io/instance: public}, ports: [{name: web, port: 80, targetPort: web}, {name: websecure, port: 443, targetPort: websecure}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: public-traefik-udp, namespace: two-public, labels: {app.kubernetes.io/name: traefik}},
 spec: {type: LoadBalancer, selector: {app.kubernetes.io/instance: public}, ports: [{name: dns, port: 53, protocol: UDP}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: public-traefik-metrics, namespace: two-public, labels: {app.kubernetes.io/name: traefik, app.kubernetes.io/component: metrics}},
 spec: {selector: {app.kubernetes.io/instance: public}, ports: [{name: metrics, port: 9100}]}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: public-traefik, namespace: two-public},
 spec: {selector: {matchLabels: {app.kubernetes.io/instance: public}}, template: {metadata: {labels: {app.kubernetes.io/instance: public}}, spec: {containers: [{name: traefik, image: traefik,
   ports: [{name: web, containerPort: 8000}, {name: websecure, containerPort: 8443}],
   args: ["--entryPoints.web.address=:8000/tcp", "--entryPoints.websecure.address=:8443/tcp", "--providers.kubernetescrd", "--providers.kubernetesingress"]}]}}}}
---
{apiVersion: v1, kind: Service, metadata: {name: internal, namespace: two-internal, labels: {app.kubernetes.io/name: traefik-internal, helm.sh/chart: traefik-39.0.0}},
 spec: {type: LoadBalancer, selector: {app.kubernetes.io/instance: internal}, ports: [{name: web, port: 80, targetPort: web}, {name: websecure, port: 443, targetPort: websecure-int}]}}
---
{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: internal, namespace: two-internal},
 spec: {selector: {matchLabels: {app.kubernetes.io/instance: internal}}, template: {metadata: {labels: {app.kubernetes.io/instance: internal}}, spec: {containers: [{name: traefik, image: traefik,
   ports: [{name: web, containerPort: 8000}, {name: websecure-int, containerPort: 8443}],
   args: ["--entryPoints.web.address=:8000/tcp", "--entryPoints.websecure-internal.address=:8443/tcp", "--providers.kubernetescrd", "--providers.kubernetescrd.ingressClass=internal",
     "--providers.kubernetesingress", "--providers.kubernetesingress.ingressClass=internal", "--providers.kubernetesingress.namespaces=default"]}]}}}}
`

var (
	publicTraefik   = types.NamespacedName{Namespace: "two-public", Name: "public-traefik"}
	internalTraefik = types.NamespacedName{Namespace: "two-internal", Name: "internal"}
)

// Addresses of the load balancers of clusterOfTwo; nothing listens there.
const publicAddress, internalAddress = "192.0.2.11", "192.0.2.12"

// namespacesOfTwo stay: their deletion takes seconds.
const namespacesOfTwo = `
{apiVersion: v1, kind: Namespace, metadata: {name: two-public}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: two-internal}}
`

// startTwoTraefiks creates clusterOfTwo until the test ends. The Service of kube-system
// has no address meanwhile.
func startTwoTraefiks(t *testing.T) {
	t.Helper()
	testkit.Must(t, bed.Cluster("hades").Apply(t.Context(), namespacesOfTwo))
	apply(t, "hades", clusterOfTwo)
	balance(t, publicTraefik, publicAddress)
	balance(t, internalTraefik, internalAddress)
	key := types.NamespacedName{Namespace: "kube-system", Name: "traefik"}
	balance(t, key)
	t.Cleanup(func() { testkit.Must(t, balanceService(key, balancer)) })
}

// What a person sees of each Traefik.
const (
	seenPublic   = "two-public/public-traefik: LoadBalancer, 192.0.2.11; no ingress class; entry points web (80), websecure (443)"
	seenInternal = "two-internal/internal: LoadBalancer, 192.0.2.12; ingress class internal; entry points web (80), websecure-internal (443)"
)

func TestAddNamesTheTraefiksToChooseFrom(t *testing.T) {
	edge, hades := reach(t)
	startTwoTraefiks(t)
	before := snapshot(t)
	for name, choose := range map[string]func(string, []string) int{
		"nobody to ask": nil,
		"no answer":     func(string, []string) int { return -1 },
	} {
		o := options(nil)
		o.Choose = choose
		err := Add(t.Context(), edge, hades, o)
		if !errors.Is(err, ErrSeveral) {
			t.Fatalf("%s: %v", name, err)
		}
		wantText(t, err.Error(), "context hades", "2 Services of Traefik", "--service NAMESPACE/NAME", "\n  "+seenPublic, "\n  "+seenInternal)
		if strings.Contains(err.Error(), "kube-system") || strings.Contains(err.Error(), "metrics") || strings.Contains(err.Error(), "udp") {
			t.Errorf("%s: more than what can be chosen is listed: %v", name, err)
		}
		if _, _, err = Plan(t.Context(), edge, hades, o); !errors.Is(err, ErrSeveral) {
			t.Errorf("%s: of a plan: %v", name, err)
		}
	}
	if after := snapshot(t); strings.Join(before, " ") != strings.Join(after, " ") {
		t.Errorf("something was written: %v, then %v", before, after)
	}
}

func TestAddSetsWhatTheChosenTraefikServes(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	startTwoTraefiks(t)
	asked := 0
	choose := func(question string, choices []string) int {
		asked++
		wantText(t, question, "2 Services of Traefik in context hades", "Which one")
		if !slices.Equal(choices, []string{seenInternal, seenPublic}) {
			t.Errorf("the choices are %q", choices)
		}
		return 0
	}
	withChoice := func(o *Options) { o.Choose = choose }
	wantText(t, add(t, edge, hades, withChoice), "usher publishes what this Traefik serves: ingress class internal; entry points websecure-internal",
		"warning: Traefik has --providers.kubernetesingress.namespaces", "pinned as spec.ingress.addresses")
	internal, none := &v1alpha1.TraefikProvider{IngressClass: "internal"}, &v1alpha1.TraefikProvider{}
	wantIngress(t, edge, internalTraefik, []string{internalAddress}, "websecure-internal", &v1alpha1.TraefikProviders{KubernetesCRD: internal, KubernetesIngress: internal})

	add(t, edge, hades, withChoice)
	if asked != 1 {
		t.Errorf("the person is asked %d times, the last time for the token of a member", asked)
	}
	wantIngress(t, edge, internalTraefik, []string{internalAddress}, "websecure-internal", &v1alpha1.TraefikProviders{KubernetesCRD: internal, KubernetesIngress: internal})

	// A flag moves the member to another Traefik, and follows or pins its address.
	add(t, edge, hades, func(o *Options) { o.Service = publicTraefik })
	wantIngress(t, edge, publicTraefik, nil, "websecure", &v1alpha1.TraefikProviders{KubernetesCRD: none, KubernetesIngress: none})
	add(t, edge, hades, func(o *Options) { o.Service, o.Addresses = internalTraefik, []string{"192.0.2.99"} })
	wantIngress(t, edge, internalTraefik, []string{"192.0.2.99"}, "websecure-internal", &v1alpha1.TraefikProviders{KubernetesCRD: internal, KubernetesIngress: internal})
}

// wantIngress checks spec.ingress of hades.
func wantIngress(t *testing.T, edge *Cluster, service types.NamespacedName, addresses []string, entryPoint string, providers *v1alpha1.TraefikProviders) {
	t.Helper()
	got := memberOf(t, edge).Spec.Ingress
	same := got.Providers == providers || got.Providers != nil && providers != nil &&
		*got.Providers.KubernetesCRD == *providers.KubernetesCRD && *got.Providers.KubernetesIngress == *providers.KubernetesIngress
	if types.NamespacedName(got.Service) != service || !slices.Equal(got.Addresses, addresses) || strings.Join(got.EntryPoints, " ") != entryPoint || !same {
		t.Errorf("spec.ingress is %+v with providers %+v", got, got.Providers)
	}
}

// An address that a person gives names its Traefik.
func TestAddFindsTheTraefikOfAnAddress(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	startTwoTraefiks(t)
	wantText(t, add(t, edge, hades, func(o *Options) { o.Addresses = []string{publicAddress} }), "the address is that of Service two-public/public-traefik")
	none := &v1alpha1.TraefikProvider{}
	wantIngress(t, edge, publicTraefik, []string{publicAddress}, "websecure", &v1alpha1.TraefikProviders{KubernetesCRD: none, KubernetesIngress: none})
}

func TestAddWarnsOfAnAddressOfNoTraefik(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	startTwoTraefiks(t)
	wantText(t, add(t, edge, hades, func(o *Options) { o.Addresses = []string{"192.0.2.99"} }), "warning: it is not known which", "--service NAMESPACE/NAME", seenInternal)
	wantIngress(t, edge, types.NamespacedName{Namespace: "kube-system", Name: "traefik"}, []string{"192.0.2.99"}, "", nil)
}

// Of several Traefiks, the one with an address is meant.
func TestAddTakesTheOnlyTraefikWithAnAddress(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	startTwoTraefiks(t)
	balance(t, internalTraefik)
	wantText(t, add(t, edge, hades), "of 3 Services of Traefik, only two-public/public-traefik has a load-balancer address", "--service names another one",
		"kube-system/traefik: LoadBalancer, no external address; ingress class unknown", "two-internal/internal: LoadBalancer, no external address; ingress class internal")
	none := &v1alpha1.TraefikProvider{}
	wantIngress(t, edge, publicTraefik, []string{publicAddress}, "websecure", &v1alpha1.TraefikProviders{KubernetesCRD: none, KubernetesIngress: none})
}

// What cannot be read is not guessed: the person is warned.
func TestAddWarnsOfATraefikWhoseConfigurationIsUnknown(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	startTwoTraefiks(t)
	balance(t, types.NamespacedName{Namespace: "kube-system", Name: "traefik"}, balancer)
	wantText(t, add(t, edge, hades, following), "warning: what the Traefik of Service kube-system/traefik serves is not known (it selects no Deployment and no DaemonSet", "spec.ingress.providers")
	wantIngress(t, edge, types.NamespacedName{Namespace: "kube-system", Name: "traefik"}, nil, "", nil)
}

func TestIngressOfANamedService(t *testing.T) {
	edge, hades := reach(t)
	apply(t, "hades", "{apiVersion: v1, kind: Service, metadata: {name: pending, namespace: default}, spec: {type: LoadBalancer, ports: [{port: 80}]}}")
	o := options(nil)
	o.Service = types.NamespacedName{Namespace: "default", Name: "pending"}
	err := Add(t.Context(), edge, hades, o)
	if !errors.Is(err, ErrNoIngress) {
		t.Errorf("a Service without an address: %v", err)
	}
	o.Service.Name = "nonesuch"
	if err = Add(t.Context(), edge, hades, o); err == nil {
		t.Fatal("found a Service that does not exist")
	}
	wantText(t, err.Error(), "context hades", "default/nonesuch", "not found")
}

func TestAClusterWithoutTraefik(t *testing.T) {
	edge, _ := reach(t)
	err := Add(t.Context(), edge, edge, options(nil))
	if !errors.Is(err, ErrNoIngress) {
		t.Fatalf("found without a Service: %v", err)
	}
	wantText(t, err.Error(), "no Service of Traefik has a load-balancer address", "--address", "--service")
}

func TestPortsAreFoundByTraefiksDefaultNames(t *testing.T) {
	service := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{
		{Name: "web", Port: 8080}, {Name: "websecure", Port: 8443}, {Name: "traefik", Port: 9000},
	}}}
	if got := (&traefikService{Service: service}).endpoint(); got.HTTPSPort != 8443 || got.HTTPPort != 8080 {
		t.Errorf("got %+v", got)
	}
}

func TestEntryPointsOfAService(t *testing.T) {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app.kubernetes.io/name": "traefik"}}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{
		{Name: "websecure", Port: 443, TargetPort: intstr.FromInt32(8443)},
		{Name: "quic", Port: 443, Protocol: corev1.ProtocolUDP, TargetPort: intstr.FromInt32(8443)},
		{Name: "same", Port: 8000},
		{Name: "elsewhere", Port: 80, TargetPort: intstr.FromString("nonesuch")},
	}}}
	s := &traefikService{Service: service, pods: &corev1.PodSpec{}, config: &staticConfig{entryPoints: map[string]int32{"secure-b": 8443, "secure-a": 8443, "plain": 8000}}}
	for port, want := range map[int32]string{443: "secure-a secure-b", 8000: "plain", 80: "elsewhere", 22: ""} {
		if got := strings.Join(s.entryPoints(port), " "); got != want {
			t.Errorf("port %d leads to %q, want %q", port, got, want)
		}
	}
	if got := strings.Join((&traefikService{Service: service}).entryPoints(443), " "); got != "websecure" {
		t.Errorf("without the configuration, port 443 leads to %q", got)
	}
}
