package access_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-logr/logr"

	"github.com/jovalle/usher/cmd/usher/admin/access"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
)

// The accounts: the viewer may read some paths, the other none, and the reviewer may only ask.
const accounts = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: viewer, namespace: default}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: other, namespace: default}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reviewer, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: viewer}
rules: [{nonResourceURLs: [/, "/hosts/*"], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: viewer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: viewer}
subjects: [{kind: ServiceAccount, name: viewer, namespace: default}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reviewer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:auth-delegator"}
subjects: [{kind: ServiceAccount, name: reviewer, namespace: default}]
`

func TestTheAPIServerDecidesWhoMayRead(t *testing.T) {
	bed, err := testbed.Start(t.Context(), testbed.Options{Clusters: []string{"edge"}})
	testkit.Must(t, err)
	t.Cleanup(func() { _ = bed.Stop() })
	edge := bed.Cluster("edge")
	testkit.Must(t, edge.Apply(t.Context(), accounts))
	tokenOf := func(account string) string {
		out, err := edge.Kubectl(t.Context(), "create", "token", account)
		testkit.Must(t, err)
		return strings.TrimSpace(out)
	}
	config := edge.Config()
	config.BearerToken = tokenOf("reviewer")
	control, err := access.New(config, logr.Discard())
	testkit.Must(t, err)
	protected := control.Protect(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "private") }))
	ask := func(path, authorization string) int {
		request := httptest.NewRequest(http.MethodGet, path, http.NoBody)
		if authorization != "" {
			request.Header.Set("Authorization", authorization)
		}
		recorder := httptest.NewRecorder()
		protected.ServeHTTP(recorder, request)
		if shown := recorder.Body.String() == "private"; shown != (recorder.Code == http.StatusOK) {
			t.Errorf("%s: status %d, and shown is %v", path, recorder.Code, shown)
		}
		return recorder.Code
	}
	viewer, other := tokenOf("viewer"), tokenOf("other")
	for name, test := range map[string]struct {
		path, authorization string
		want                int
	}{
		"the viewer":               {"/", "Bearer " + viewer, http.StatusOK},
		"the viewer, a host":       {"/hosts/a.is", "Bearer " + viewer, http.StatusOK},
		"the viewer, another path": {"/metrics", "Bearer " + viewer, http.StatusForbidden},
		"another account":          {"/", "Bearer " + other, http.StatusForbidden},
		"nobody":                   {"/", "", http.StatusUnauthorized},
		"no bearer":                {"/", "Basic " + viewer, http.StatusUnauthorized},
		"an invalid token":         {"/", "Bearer " + viewer[:len(viewer)-2], http.StatusUnauthorized},
		"a token without an end":   {"/", "Bearer " + strings.Repeat("x", 1<<20), http.StatusUnauthorized},
		"an empty token":           {"/", "Bearer ", http.StatusUnauthorized},
	} {
		if got := ask(test.path, test.authorization); got != test.want {
			t.Errorf("%s gets %d, want %d", name, got, test.want)
		}
	}
	edge.Stop()
	if got := ask("/", "Bearer "+viewer); got != http.StatusOK {
		t.Errorf("without the API server, an answer of a moment ago does not count: %d", got)
	}
	if got := ask("/hosts/new.is", "Bearer "+viewer); got != http.StatusServiceUnavailable {
		t.Errorf("without the API server, a new question is answered by %d", got)
	}
}
