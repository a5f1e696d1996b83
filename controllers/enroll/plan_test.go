package enroll

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/jovalle/usher/hack/test/testkit"
)

func TestAddAfterKubectlHasAppliedThePlanChangesNothing(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	removeAfterwards(t, edge, hades)
	before := snapshot(t)
	inMember, atEdge, err := Plan(t.Context(), edge, hades, options(nil))
	testkit.Must(t, err)
	if after := snapshot(t); strings.Join(before, " ") != strings.Join(after, " ") {
		t.Errorf("a plan has written: %v, then %v", before, after)
	}
	applyPlan(t, "hades", inMember)
	applyPlan(t, "edge", atEdge)
	said := add(t, edge, hades)
	for _, object := range append(inMember, atEdge...) {
		wantText(t, said, describe(object)+" unchanged")
	}
}

// applyPlan prints a plan, checks that it has no secrets, and applies it with kubectl.
func applyPlan(t *testing.T, cluster string, planned []*unstructured.Unstructured) {
	t.Helper()
	var out bytes.Buffer
	testkit.Must(t, Print(&out, planned, FormatYAML))
	for _, never := range []string{"kind: Secret", "token", "status:", "creationTimestamp", "null"} {
		if strings.Contains(out.String(), never) {
			t.Errorf("%q is printed:\n%s", never, &out)
		}
	}
	_, err := bed.Cluster(cluster).Kubectl(t.Context(), "apply", "-f", writeFile(t, "plan.yaml", out.String(), 0o600))
	testkit.Must(t, err)
}

func TestPlanAsAList(t *testing.T) {
	edge, hades := reach(t)
	planned, _, err := Plan(t.Context(), edge, hades, options(nil))
	testkit.Must(t, err)
	var out bytes.Buffer
	testkit.Must(t, Print(&out, planned, FormatJSON))
	var list struct {
		Kind  string
		Items []any
	}
	testkit.Must(t, json.Unmarshal(out.Bytes(), &list))
	if list.Kind != "List" || len(list.Items) != len(planned) {
		t.Errorf("printed %s", &out)
	}
}
