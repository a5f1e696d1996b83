package member

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
)

func TestAnnotationsAreShared(t *testing.T) {
	var s sharedAnnotations
	shared := func(annotations map[string]string) bool {
		first, second := &networkingv1.Ingress{}, &networkingv1.Ingress{}
		for _, o := range []*networkingv1.Ingress{first, second} {
			o.Annotations = maps.Clone(annotations)
			s.share(o)
			if fmt.Sprint(o.Annotations) != fmt.Sprint(annotations) {
				t.Errorf("%v became %v", annotations, o.Annotations)
			}
		}
		first.Annotations["written"] = "once"
		defer delete(first.Annotations, "written")
		return second.Annotations["written"] == "once"
	}
	if !shared(map[string]string{"a": "1", "b": "2"}) {
		t.Error("the same annotations are not shared")
	}
	for name, annotations := range map[string]map[string]string{
		"an exposed object": {"usher.techn.is/expose": "true"},
		"long annotations":  {"a": strings.Repeat("x", maxSharedLen)},
	} {
		if shared(annotations) {
			t.Errorf("%s shares its annotations", name)
		}
	}
	for i := range 2 * maxShared {
		shared(map[string]string{"a": fmt.Sprint("many", i)})
	}
	if len(s.sets) != maxShared {
		t.Errorf("there are %d sets", len(s.sets))
	}
}
