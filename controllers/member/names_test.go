package member

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefik"
	"github.com/jovalle/usher/hack/test/testkit"
)

// claimedAll reports every host as claimed.
func claimedAll(string) bool { return true }

// objectKey identifies an object of a test.
type objectKey struct {
	kind schema.GroupVersionKind
	name string
}

// After any sequence of additions, changes and removals, Beside depends only on the
// objects that are left.
func TestNamesFollowTheObjects(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	routes, ingresses := kindNamed(t, source.KindIngressRoute), kindNamed(t, source.KindIngress)
	hosts := []string{"a.x.is", "b.x.is", "*.x.is", "c.y.is", "x.is"}
	objects := map[objectKey]client.Object{}
	kinds := map[objectKey]kind{}
	n := newNames()
	for i := range 1500 {
		k, name := routes, fmt.Sprint("r", random.IntN(6))
		if random.IntN(2) == 0 {
			k, name = ingresses, fmt.Sprint("i", random.IntN(6))
		}
		after := someObject(random, k, name, hosts)
		key := objectKey{k.gvk, name}
		switch before := objects[key]; {
		case before != nil && random.IntN(3) == 0:
			n.replace(k, before, nil)
			delete(objects, key)
		case random.IntN(200) == 0:
			n.forget(k)
			maps.DeleteFunc(objects, func(other objectKey, _ client.Object) bool { return other.kind == key.kind })
		default:
			n.replace(k, before, after)
			objects[key], kinds[key] = after, k
		}
		for _, host := range append(slices.Clone(hosts), "d.x.is") {
			want := besideOf(objects, kinds, host)
			if got := n.beside("hades", host, nil, claimedAll); !slices.Equal(written(got), written(want)) {
				t.Fatalf("step %d: beside %s stand %v, want %v", i, host, written(got), written(want))
			}
		}
	}
	for key, o := range objects {
		n.replace(kinds[key], o, nil)
	}
	for _, of := range n.byKind {
		if len(of.under)+len(of.more)+len(of.open)+len(of.children) > 0 {
			t.Errorf("without objects there are left %v, %v, %v, %v", of.under, of.more, of.open, of.children)
		}
	}
}

// someObject names some of the hosts, or any, and is annotated or not.
func someObject(random *rand.Rand, k kind, name string, hosts []string) client.Object {
	var rules, terms []string
	for _, host := range hosts {
		if random.IntN(3) == 0 {
			rules = append(rules, fmt.Sprintf("{host: %q}", host))
			terms = append(terms, "Host(`"+host+"`)")
		}
	}
	if random.IntN(4) == 0 || len(rules) == 0 {
		rules, terms = append(rules, "{}"), append(terms, "PathPrefix(`/`)")
	}
	spec := "rules: [" + strings.Join(rules, ", ") + "]"
	if k.gvk.Kind == source.KindIngressRoute {
		spec = "routes: [{syntax: v3, match: '" + strings.Join(terms, " || ") + "'}]"
	}
	manifest := fmt.Sprintf("metadata: {namespace: default, name: %s, annotations: {usher.techn.is/expose: '%v'}}\nspec: {%s}", name, random.IntN(2) == 0, spec)
	if k.gvk.Kind == source.KindIngressRoute {
		return read[traefik.IngressRoute](manifest)
	}
	return read[networkingv1.Ingress](manifest)
}

// besideOf computes names.beside from all objects, without an index.
func besideOf(objects map[objectKey]client.Object, kinds map[objectKey]kind, host string) Beside {
	label, parent, _ := strings.Cut(host, ".")
	wildcard := label == "*"
	var b Beside
	published := map[string]bool{} // label → whether an annotated object names it
	for key, o := range objects {
		named, ref := kinds[key].names(o), v1alpha1.SourceRef{Cluster: "hades", Kind: key.kind.Kind, Namespace: "default", Name: key.name}
		above := !wildcard && slices.Contains(named.Hosts, "*."+parent) && !source.Exposed(o.GetAnnotations())
		if slices.Contains(named.Hosts, host) || above {
			b.Unannotated = append(b.Unannotated, ref)
		}
		if !wildcard {
			continue
		}
		if named.Open {
			b.Unlisted = append(b.Unlisted, ref)
		}
		for _, name := range named.Hosts {
			if label, of, _ := strings.Cut(name, "."); of == parent && label != "*" {
				published[label] = published[label] || source.Exposed(o.GetAnnotations())
			}
		}
	}
	b.Unannotated, b.Unlisted = tidy(b.Unannotated), tidy(b.Unlisted)
	b.Names = slices.Sorted(maps.Keys(published))
	for _, label := range b.Names {
		if !published[label] {
			b.Private = append(b.Private, label)
		}
	}
	return b
}

// written formats a Beside.
func written(b Beside) []string {
	return []string{fmt.Sprint(b.Unannotated), fmt.Sprint(b.Names), fmt.Sprint(b.Private), fmt.Sprint(b.Unlisted)}
}

// The metadata of objects of every kind can be stored. To forget a kind removes its own
// objects only.
func TestNamesOfEveryKind(t *testing.T) {
	n := newNames()
	for _, k := range sources {
		o := k.object.DeepCopyObject().(client.Object)
		o.SetName("n")
		spec := "{rules: [{host: a.x.is}], tls: {}, hostnames: [a.x.is], routes: [{match: Host(`a.x.is`)}]}"
		if strings.HasSuffix(k.gvk.Kind, "TCP") {
			spec = strings.Replace(spec, "Host(", "HostSNI(", 1)
		}
		if k.gvk.Kind == source.KindIngress {
			spec = "{rules: [{host: a.x.is}]}"
		}
		testkit.Must(t, yaml.Unmarshal([]byte("spec: "+spec), o))
		n.replace(k, nil, o)
	}
	count := func() int { return len(n.beside("hades", "a.x.is", nil, claimedAll).Unannotated) }
	if count() != 8 { // a kind of both of Traefik's API groups, or of several versions, counts once
		t.Errorf("%d objects name the host", count())
	}
	n.forget(kindNamed(t, source.KindGRPCRoute))
	n.forget(kindNamed(t, source.KindIngressRoute))
	if count() != 7 {
		t.Errorf("%d objects name the host when two kinds of them are gone", count())
	}
}

// A child IngressRoute serves the hosts of its parents. The parents serve none.
func TestNamesOfChildrenAreTheirParents(t *testing.T) {
	n := newNames()
	k := kindNamed(t, source.KindIngressRoute)
	route := func(name, spec string) client.Object {
		return read[traefik.IngressRoute]("metadata: {namespace: default, name: " + name + "}\nspec: {" + spec + "}")
	}
	const anything = "routes: [{match: PathPrefix(`/`)}]"
	n.replace(k, nil, route("root", "routes: [{match: Host(`a.x.is`) || Host(`b.x.is`)}]"))
	n.replace(k, nil, route("middle", "parentRefs: [{name: root}, {name: leaf}], "+anything)) // the parents form a cycle
	n.replace(k, nil, route("named", "parentRefs: [{name: root}], routes: [{match: Host(`b.x.is`)}]"))
	n.replace(k, nil, route("elsewhere", "parentRefs: [{name: root, namespace: other}], "+anything))
	leaf := route("leaf", "parentRefs: [{name: middle, namespace: default}], "+anything)
	touched := n.touched(n.replace(k, nil, leaf))
	if slices.Sort(touched); !slices.Equal(touched, []string{"a.x.is", "b.x.is"}) {
		t.Errorf("a leaf touches %q", touched)
	}
	silent := func(host string) (names []string) {
		for _, ref := range n.beside("hades", host, nil, claimedAll).Unannotated {
			names = append(names, ref.Name)
		}
		return names
	}
	n.replace(k, leaf, nil)
	for host, want := range map[string][]string{"a.x.is": {"middle"}, "b.x.is": {"middle", "named"}} {
		if got := silent(host); !slices.Equal(got, want) {
			t.Errorf("beside %s stand %q, want %q", host, got, want)
		}
	}
	n.replace(k, nil, route("deep", "parentRefs: [{name: named}], "+anything))
	if got := silent("b.x.is"); !slices.Equal(got, []string{"deep", "middle"}) {
		t.Errorf("beside b.x.is stand %q", got)
	}
	if b := n.beside("hades", "*.x.is", nil, claimedAll); len(b.Unlisted) > 0 {
		t.Errorf("children may serve any host: %v", b.Unlisted)
	}
}

// A change touches the hosts whose decision depends on it.
func TestNamesTellWhatAChangeTouches(t *testing.T) {
	n := newNames()
	k := kindNamed(t, source.KindIngress)
	object := func(name, rules string) client.Object {
		return read[networkingv1.Ingress]("metadata: {namespace: default, name: " + name + "}\nspec: {rules: [" + rules + "]}")
	}
	n.replace(k, nil, object("a", "{host: a.x.is}"))
	n.replace(k, nil, object("other", "{host: a.y.is}, {host: '*.y.is'}"))
	for name, test := range map[string]struct {
		before, after client.Object
		want          []string
	}{
		"a name":         {nil, object("n", "{host: n.x.is}"), []string{"*.x.is", "n.x.is"}},
		"a wildcard":     {nil, object("n", "{host: '*.x.is'}"), []string{"*.x.is", "a.x.is"}},
		"any host":       {nil, object("n", "{}"), []string{"*.y.is"}},
		"nothing":        {object("n", "{host: n.x.is}"), object("n", "{host: n.x.is}"), nil},
		"a changed name": {object("n", "{host: n.x.is}"), object("n", "{host: m.z.is}"), []string{"*.x.is", "*.z.is", "m.z.is", "n.x.is"}},
	} {
		t.Run(name, func(t *testing.T) {
			n.replace(k, nil, test.before)
			touched := n.touched(n.replace(k, test.before, test.after))
			n.replace(k, test.after, nil)
			slices.Sort(touched)
			if touched = slices.Compact(touched); !slices.Equal(touched, test.want) {
				t.Errorf("it touches %q, want %q", touched, test.want)
			}
		})
	}
}

// An object without the annotation takes less than 100 bytes for each host that it
// names, including the host in the object.
func TestNamesTakeLittleMemory(t *testing.T) {
	const objects = 50_000
	k := kindNamed(t, source.KindIngress)
	kept := make([]client.Object, objects)
	measure := func(named bool) int64 {
		n := newNames()
		before := heap()
		for i := range kept {
			o := &networkingv1.Ingress{}
			if o.Name = fmt.Sprint("app-", i); named {
				o.Spec.Rules = []networkingv1.IngressRule{{Host: fmt.Sprintf("app-%d.hades.example.org", i)}}
			}
			trimmed := trim(o)
			kept[i] = trimmed.(client.Object)
			n.replace(k, nil, kept[i])
		}
		used := heap() - before
		runtime.KeepAlive(n)
		clear(kept)
		return used
	}
	if perHost := (measure(true) - measure(false)) / objects; perHost > 100 {
		t.Errorf("a host takes %d bytes", perHost)
	} else {
		t.Logf("a host takes %d bytes", perHost)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// If there are more names than a wildcard can except, they are counted but not checked.
func TestNamesUnderAWildcardAreBounded(t *testing.T) {
	n := newNames()
	k := kindNamed(t, source.KindIngress)
	for i := range v1alpha1.MaxExcept + 5 {
		o := &networkingv1.Ingress{}
		o.Name, o.Spec.Rules = fmt.Sprint(i), []networkingv1.IngressRule{{Host: fmt.Sprintf("n%d.x.is", i)}, {Host: strings.Repeat("l", 64) + ".x.is"}}
		n.replace(k, nil, o)
	}
	if b := n.beside("hades", "*.x.is", nil, claimedAll); len(b.Names) != v1alpha1.MaxExcept+5 || b.Private != nil {
		t.Errorf("there are %d names, %d of them private", len(b.Names), len(b.Private))
	}
}
