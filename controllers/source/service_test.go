package source_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/jovalle/usher/controllers/source"
)

func TestAddressesOfALoadBalancer(t *testing.T) {
	service := &corev1.Service{}
	if got := source.LoadBalancerAddresses(service); got != nil {
		t.Errorf("one that has none has %v", got)
	}
	service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{Hostname: "lb.home"}, {IP: "192.0.2.1", Hostname: "both.home"}, {}}
	if got, want := source.LoadBalancerAddresses(service), []string{"lb.home", "192.0.2.1"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
