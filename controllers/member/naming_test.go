package member

import (
	"fmt"
	"slices"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefik"
)

// All objects that name a host are found: exactly, by a wildcard at any level, through a
// parent, and those that may serve any host. The exact ones come first.
func TestEveryObjectThatNamesAHost(t *testing.T) {
	n := newNames()
	ingress := func(name string, hosts ...string) {
		o := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name}}
		for _, host := range hosts {
			o.Spec.Rules = append(o.Spec.Rules, networkingv1.IngressRule{Host: host})
		}
		n.replace(kindNamed(t, source.KindIngress), nil, o)
	}
	route := func(name, rule string, parents ...string) {
		o := &traefik.IngressRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name}}
		o.Spec.Routes = []traefik.Route{{Match: rule}}
		for _, parent := range parents {
			o.Spec.ParentRefs = append(o.Spec.ParentRefs, traefik.IngressRouteRef{Name: parent})
		}
		n.replace(kindNamed(t, source.KindIngressRoute), nil, o)
	}
	ingress("wide", "*.x.is")
	ingress("exact", "b.a.x.is", "other.is")
	ingress("narrow", "*.a.x.is")
	ingress("elsewhere", "c.a.x.is", "*.b.a.x.is")
	ingress("second", "b.a.x.is")
	route("parent", "Host(`b.a.x.is`)")
	route("child", "PathPrefix(`/`)", "parent")
	route("any", "PathPrefix(`/`)")

	names := func(host string, most int) (found []string, more int) {
		all, more := n.named(host, most)
		for _, f := range all {
			text := f.id.Name + " " + f.host
			if f.through != (types.NamespacedName{}) {
				text += " through " + f.through.Name
			}
			found = append(found, text)
		}
		return found, more
	}
	found, more := names("b.a.x.is", 50)
	want := []string{"exact b.a.x.is", "second b.a.x.is", "parent b.a.x.is", "child b.a.x.is through parent", "narrow *.a.x.is", "wide *.x.is", "any "}
	if !slices.Equal(found, want) || more != 0 {
		t.Errorf("got %q and %d more, want %q", found, more, want)
	}
	if found, more := names("b.a.x.is", 2); !slices.Equal(found, want[:2]) || more != len(want)-2 {
		t.Errorf("at most two: %q and %d more", found, more)
	}
	if found, _ := names("*.a.x.is", 50); !slices.Equal(found, []string{"narrow *.a.x.is", "wide *.x.is", "any "}) {
		t.Errorf("of a wildcard: %q", found)
	}
}

// What it takes to find the objects that name one of 10,000 hosts.
func BenchmarkNamed(b *testing.B) {
	n := newNames()
	for i := range 10_000 {
		o := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: fmt.Sprint("i", i)}}
		o.Spec.Rules = []networkingv1.IngressRule{{Host: fmt.Sprintf("h%d.x.is", i)}}
		n.replace(sources[0], nil, o)
	}
	for b.Loop() {
		n.named("h9999.x.is", 50)
	}
}
