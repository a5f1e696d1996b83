package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
)

// A Traefik without Kubernetes: an app gets the public entry point, is published, answers
// through usher, and is withdrawn again. The other app is never reached.
func TestTraefikWithoutKubernetes(t *testing.T) {
	const shown, private = "shown.nas.techn.is", "private.nas.techn.is"
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"cluster": "nas", "app": "shown", "host": %q}`, r.Host)
	}))
	defer app.Close()
	file := filepath.Join(t.TempDir(), "dynamic.yaml")
	write := func(entryPoint string) {
		t.Helper()
		text := fmt.Sprintf(`
http:
  services: {app: {loadBalancer: {servers: [{url: %q}]}}}
  routers:
    api: {rule: "PathPrefix(%[2]s/api%[2]s)", service: api@internal, entryPoints: [traefik]}
    shown: {rule: "Host(%[2]s%[3]s%[2]s)", service: app, entryPoints: [%[4]s], tls: {}}
    private: {rule: "Host(%[2]s%[5]s%[2]s)", service: app, entryPoints: [mqtts], tls: {}}
`, app.URL, "`", shown, entryPoint, private)
		testkit.Must(t, os.WriteFile(file+".new", []byte(text), 0o600))
		testkit.Must(t, os.Rename(file+".new", file))
	}
	write("mqtts")
	traefik, err := env.Bed.StartTraefik(t.Context(), "nas", "--providers.file.filename="+file)
	testkit.Must(t, err)
	t.Cleanup(traefik.Stop)
	testkit.Must(t, env.Edge.Apply(t.Context(), fmt.Sprintf(`{apiVersion: usher.techn.is/v1alpha1, kind: MemberCluster, metadata: {name: nas}, spec: {
		traefik: {url: "http://%s", interval: 2s, publicEntryPoint: websecure}, ingress: {addresses: ["%s"], httpsPort: %d}}}`, traefik.API, traefik.HTTPS.Addr(), traefik.HTTPS.Port())))
	atEnd(t, env.Edge, "delete", "membercluster", "nas", "--ignore-not-found")
	awaitCondition(t, env.Edge, "membercluster/nas", "Ready", "True")
	unanswered(t, shown)

	write("websecure")
	answered(t, shown, "nas")
	unanswered(t, private)
	write("mqtts")
	unanswered(t, shown)
}
