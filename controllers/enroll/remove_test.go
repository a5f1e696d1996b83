package enroll

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
)

func TestRemoveDeletesEverything(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	add(t, edge, hades)
	publish(t, edge)
	token := stored(t, edge)
	var out bytes.Buffer
	if err := Remove(t.Context(), edge, hades, options(&out)); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	wantText(t, out.String(), "MemberCluster hades deleted in context edge", "Namespace usher-reader deleted in context hades", "hades is removed")
	if left := append(made(t, "hades"), made(t, "edge")...); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	var hosts v1alpha1.ExposedHostList
	testkit.Must(t, edge.client.List(t.Context(), &hosts))
	if len(hosts.Items) > 0 {
		t.Errorf("still published: %v", hosts.Items)
	}
	testkit.Eventually(t, "the token to be refused", func() error {
		if err := listIngresses(token); !apierrors.IsUnauthorized(err) {
			return fmt.Errorf("a request with the deleted token: %w", err)
		}
		return nil
	})
	if err := Remove(t.Context(), edge, hades, options(nil)); !isUnknown(err) {
		t.Errorf("removed again: %v", err)
	}
}

func TestRemoveContinuesAfterAnInterruption(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	add(t, edge, hades)
	testkit.Must(t, edge.client.Delete(t.Context(), memberOf(t, edge)))
	testkit.Must(t, Remove(t.Context(), edge, hades, options(nil)))
	if left := append(made(t, "hades"), made(t, "edge")...); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestRemoveDeletesNothingWithoutTheMember(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	add(t, edge, hades)
	for name, test := range map[string]struct {
		member *Cluster
		says   string
	}{
		"another cluster":       {edge, "this cluster has nothing of the member"},
		"one that is not there": {unreachable(t, hades), "add --force"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Remove(t.Context(), edge, test.member, options(nil))
			if err == nil {
				t.Fatal("removed")
			}
			wantText(t, err.Error(), test.says)
			memberOf(t, edge)
			storedBytes(t, edge)
		})
	}
}

func TestRemoveByForceDoesNotChangeTheMember(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	for name, member := range map[string]*Cluster{"no answer": unreachable(t, hades), "no kubeconfig": nil} {
		t.Run(name, func(t *testing.T) {
			add(t, edge, hades)
			var out bytes.Buffer
			o := options(&out)
			o.Force = true
			testkit.Must(t, Remove(t.Context(), edge, member, o))
			id, err := identify(t.Context(), edge, "hades")
			testkit.Must(t, err)
			wantText(t, out.String(), "kubectl --context CONTEXT delete", "usher.techn.is/edge="+string(id.edge))
			err = edge.client.Get(t.Context(), client.ObjectKey{Name: "hades"}, &v1alpha1.MemberCluster{})
			if !apierrors.IsNotFound(err) || len(made(t, "edge")) > 0 {
				t.Errorf("left at the edge: %v, %v", made(t, "edge"), err)
			}
			if len(made(t, "hades")) == 0 {
				t.Error("the member was reached")
			}
		})
	}
}

func TestRemoveReportsThatUsherDoesNotWithdraw(t *testing.T) {
	edge, hades := reach(t)
	t.Run("while usher runs", func(usher *testing.T) {
		startUsher(usher)
		testkit.Must(t, Add(t.Context(), edge, hades, options(nil)))
		publish(t, edge)
	})
	t.Cleanup(func() {
		if err := edge.client.DeleteAllOf(context.Background(), &v1alpha1.ExposedHost{}); err != nil {
			t.Error(err)
		}
	})
	o := options(nil)
	o.Timeout = 4 * time.Second
	err := Remove(t.Context(), edge, hades, o)
	if err == nil {
		t.Fatal("Remove returned no error")
	}
	wantText(t, err.Error(), "usher still publishes whoami.techn.is", "does it run")
}

// unreachable returns the cluster with an address that nothing listens on.
func unreachable(t *testing.T, c *Cluster) *Cluster {
	t.Helper()
	from := *c.kubeconfig
	from.REST = rest.CopyConfig(from.REST)
	from.REST.Host = "https://127.0.0.1:1"
	away, err := newCluster(&from)
	testkit.Must(t, err)
	return away
}
