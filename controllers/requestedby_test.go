package controllers_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
)

// The status says who annotated the object, and which version of it. A later version of the
// object changes nothing; another manager of the annotation does. The Events say it too,
// and the routing table, from which the history has it.
func TestWhoAnnotatedIsRecorded(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	addMember(t, c, "hades", nil)
	const host = "annotated.techn.is"
	apply(t, "hades", ingressRoute("annotated", "Host(`"+host+"`)"))
	kubectl := func(args ...string) {
		t.Helper()
		_, err := bed.Cluster("hades").Kubectl(t.Context(), args...)
		testkit.Must(t, err)
	}
	kubectl("annotate", "ingressroute", "annotated", "usher.techn.is/expose=true")
	by := func(manager string) func(*v1alpha1.ExposedHost) error {
		return func(eh *v1alpha1.ExposedHost) error {
			if by := eh.Status.RequestedBy; by == nil || by.Manager != manager || by.Name != "annotated" || by.Cluster != "hades" || by.ResourceVersion == "" {
				return fmt.Errorf("it was requested by %+v", by)
			}
			return ready("hades")(eh)
		}
	}
	first := awaitHost(t, c, host, by("kubectl-annotate")).Status.RequestedBy
	awaitEvent(t, c, host, "Admitted")
	testkit.Eventually(t, "the route should name the manager", func() error {
		if route := table.Load().Own(host); route == nil || route.Source == nil || route.Source.Manager != "kubectl-annotate" || route.Source.ResourceVersion != first.ResourceVersion {
			return fmt.Errorf("%+v", route)
		}
		return nil
	})

	kubectl("annotate", "ingressroute", "annotated", "usher.techn.is/allow-from=10.0.0.0/8")
	narrowed := awaitHost(t, c, host, func(eh *v1alpha1.ExposedHost) error {
		if len(eh.Spec.AllowFrom) == 0 {
			return fmt.Errorf("it is open to everyone")
		}
		return by("kubectl-annotate")(eh)
	})
	if *narrowed.Status.RequestedBy != *first {
		t.Errorf("a later version changes %+v to %+v", first, narrowed.Status.RequestedBy)
	}

	kubectl("annotate", "ingressroute", "annotated", "usher.techn.is/expose-")
	awaitGone(t, c, host)
	if said := awaitEvent(t, c, host, "Withdrawn"); !strings.Contains(said, `it was exposed by IngressRoute/default/annotated of cluster hades; annotated by "kubectl-annotate"`) {
		t.Errorf("the Event says %q", said)
	}
	kubectl("annotate", "ingressroute", "annotated", "usher.techn.is/expose=true", "--field-manager=argocd-controller")
	again := awaitHost(t, c, host, by("argocd-controller"))
	if again.Status.RequestedBy.ResourceVersion == first.ResourceVersion {
		t.Error("it is another version")
	}
}
