package source_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

func TestEntryPointsOfAService(t *testing.T) {
	ports := []corev1.ServicePort{
		{Name: "web", Port: 80, Protocol: corev1.ProtocolTCP}, {Name: "websecure", Port: 443}, {Name: "public", Port: 443},
		{Name: "websecure-http3", Port: 443, Protocol: corev1.ProtocolUDP}, {Name: strings.Repeat("x", 1000), Port: 443}, {Port: 8080},
	}
	for name, test := range map[string]struct {
		labels map[string]string
		want   int
	}{
		"no label":          {nil, 0},
		"of another chart":  {map[string]string{source.LabelName: "nginx", source.LabelChart: "nginx-1.2.3"}, 0},
		"by its name":       {map[string]string{source.LabelName: "traefik"}, 2},
		"by its chart":      {map[string]string{source.LabelChart: "traefik-34.3.0"}, 2},
		"a name of its own": {map[string]string{source.LabelName: "traefik-internal"}, 0},
	} {
		got := source.EntryPointsOf(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Labels: test.labels}, Spec: corev1.ServiceSpec{Ports: ports}})
		if len(got) != test.want || test.want > 0 && (!slices.Equal(got[443], []string{"websecure", "public"}) || !slices.Equal(got[80], []string{"web"})) {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := source.EntryPointsOf(nil); got != nil {
		t.Errorf("without a Service: %v", got)
	}
}
