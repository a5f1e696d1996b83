package routetable_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/routetable"
)

func TestCheckReportsInvalidFields(t *testing.T) {
	cluster := func(names ...string) func(*v1alpha1.ExposedHostSpec) {
		return func(s *v1alpha1.ExposedHostSpec) {
			for _, name := range names {
				s.Backends = append(s.Backends, v1alpha1.HostBackend{Cluster: name})
			}
		}
	}
	from := func(clients ...string) func(*v1alpha1.ExposedHostSpec) {
		return func(s *v1alpha1.ExposedHostSpec) { s.AllowFrom = clients }
	}
	for name, test := range map[string]struct {
		host v1alpha1.ExposedHost
		want []string
	}{
		"good":                        {host("a.is", metav1.ConditionTrue, cluster("hades", "illmatic")), nil},
		"an address":                  {host("a.is", metav1.ConditionTrue, on(v1alpha1.HostBackend{Address: "nas.lan"})), nil},
		"refused":                     {host("a.is", metav1.ConditionFalse, cluster("nowhere")), nil},
		"no backend":                  {host("a.is", metav1.ConditionTrue, cluster()), nil},
		"an unknown cluster":          {host("a.is", metav1.ConditionTrue, cluster("hades", "nowhere")), []string{"spec.backends[1].cluster"}},
		"a cluster without addresses": {host("a.is", metav1.ConditionTrue, cluster("astray")), []string{"spec.backends[0].cluster"}},
		"a port that no backend has":  {host("a.is", metav1.ConditionTrue, func(s *v1alpha1.ExposedHostSpec) { cluster("hades")(s); s.Ports = []string{"https", "mqtts"} }), []string{"spec.ports"}},
		"a list":                      {host("a.is", metav1.ConditionTrue, from("@family", "@family&@vpn")), nil},
		"an unknown list":             {host("a.is", metav1.ConditionTrue, from("192.0.2.0/24", "@nobody")), []string{"spec.allowFrom[1]"}},
		"lists without a client":      {host("a.is", metav1.ConditionTrue, from("@vpn&2001:db8::/32")), []string{"spec.allowFrom"}},
		"a host that IDNA refuses":    {host("xn--zz.is", metav1.ConditionTrue, cluster("nowhere")), []string{"spec.host", "spec.backends[0].cluster"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			hosts := []v1alpha1.ExposedHost{host("first.is", metav1.ConditionTrue, cluster("hades")), test.host}
			routetable.Check(routetable.Objects{Hosts: hosts, Clusters: clusters, Networks: networks}, func(i int, e *field.Error) {
				got = append(got, strings.Repeat("another host's: ", 1-i)+e.Field)
			})
			if !slices.Equal(got, test.want) {
				t.Errorf("the fields are %v, want %v", got, test.want)
			}
		})
	}
}

// If Check reports nothing, Build serves each accepted host by all of its backends.
func TestCheckReportsEverythingThatBuildOmits(t *testing.T) {
	all := []string{"hades", "illmatic", "astray", "nowhere"}
	for i := range 1 << len(all) {
		eh := host("a.is", metav1.ConditionTrue, func(s *v1alpha1.ExposedHostSpec) {
			for bit, name := range all {
				if i&(1<<bit) != 0 {
					s.Backends = append(s.Backends, v1alpha1.HostBackend{Cluster: name})
				}
			}
		})
		hosts, complaints := []v1alpha1.ExposedHost{eh}, 0
		routetable.Check(routetable.Objects{Hosts: hosts, Clusters: clusters, Networks: networks}, func(int, *field.Error) { complaints++ })
		table, _ := routetable.Build(routetable.Objects{Hosts: hosts, Clusters: clusters, Networks: networks})
		served := 0
		if route := table.Lookup("a.is"); route != nil {
			served = len(route.Backends)
		}
		if served+complaints != len(eh.Spec.Backends) {
			t.Error(fmt.Sprint(eh.Spec.Backends), served, complaints)
		}
	}
}
