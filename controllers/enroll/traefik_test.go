package enroll

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/jovalle/usher/hack/test/testkit"
)

func TestIngressOfANamedService(t *testing.T) {
	_, hades := reach(t)
	apply(t, "hades", "{apiVersion: v1, kind: Service, metadata: {name: pending, namespace: default}, spec: {type: LoadBalancer, ports: [{port: 80}]}}")
	endpoint, addresses, err := hades.ingressOfService(t.Context(), types.NamespacedName{Namespace: "kube-system", Name: "traefik"})
	testkit.Must(t, err)
	if endpoint.Service.Name != "traefik" || len(addresses) != 1 || addresses[0] != balancer {
		t.Errorf("found %+v at %v", endpoint, addresses)
	}
	if _, _, err = hades.ingressOfService(t.Context(), types.NamespacedName{Namespace: "default", Name: "pending"}); !errors.Is(err, ErrNoIngress) {
		t.Errorf("a Service without an address: %v", err)
	}
	_, _, err = hades.ingressOfService(t.Context(), types.NamespacedName{Namespace: "default", Name: "nonesuch"})
	if err == nil {
		t.Fatal("found a Service that does not exist")
	}
	wantText(t, err.Error(), "context hades", "default/nonesuch", "not found")
}

func TestIngressIsFoundByDefaultNameOrLabel(t *testing.T) {
	edge, _ := reach(t) // a cluster without Traefik
	if _, _, err := edge.findIngress(t.Context()); !errors.Is(err, ErrNoIngress) {
		t.Errorf("found without a Service: %v", err)
	}
	_, hades := reach(t)
	endpoint, _, err := hades.findIngress(t.Context())
	testkit.Must(t, err)
	if endpoint.Service.Namespace != "kube-system" {
		t.Errorf("found %+v", endpoint)
	}
}

func TestOneServiceOfSeveralWithTraefiksLabel(t *testing.T) {
	named := func(name string, ingress ...corev1.LoadBalancerIngress) corev1.Service {
		return corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: name},
			Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: ingress}}}
	}
	address, host := corev1.LoadBalancerIngress{IP: "192.0.2.1"}, corev1.LoadBalancerIngress{Hostname: "lb.home"}
	for _, test := range []struct {
		name     string
		services []corev1.Service
		want     string // the Service's name; empty: an error with says
		says     string
	}{
		{"none", nil, "", "no Service"},
		{"one without an address", []corev1.Service{named("dashboard")}, "", "no Service"},
		{"one with an address", []corev1.Service{named("dashboard"), named("edge", address)}, "edge", ""},
		{"one with a DNS name", []corev1.Service{named("edge", host)}, "edge", ""},
		{"several", []corev1.Service{named("edge", address), named("inner", host)}, "", "web/edge and web/inner"},
	} {
		t.Run(test.name, func(t *testing.T) {
			found, err := onlyBalancer(test.services)
			if test.want != "" {
				testkit.Must(t, err)
				if found.Name != test.want {
					t.Errorf("found %s", found.Name)
				}
				return
			}
			if !errors.Is(err, ErrNoIngress) {
				t.Fatal(err)
			}
			wantText(t, err.Error(), test.says)
		})
	}
}

func TestPortsAreFoundByTraefiksDefaultNames(t *testing.T) {
	service := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{
		{Name: "web", Port: 8080}, {Name: "websecure", Port: 8443}, {Name: "traefik", Port: 9000},
	}}}
	if got := endpointOf(service); got.HTTPSPort != 8443 || got.HTTPPort != 8080 {
		t.Errorf("got %+v", got)
	}
}
