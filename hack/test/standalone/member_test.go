package standalone

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
	"github.com/jovalle/usher/hack/testenv"
)

// hosts is how many hosts the member publishes when the memory is measured.
const hosts = 100

// maxMemory is how much memory both processes may hold together, in MB. Pages of the
// program that both have read are counted once.
const maxMemory = 200

// A real member is added by usher cluster add; its annotated host is published; the
// commands that ask usher find it; all of it survives SIGKILL.
func TestMember(t *testing.T) {
	bed, err := testbed.Start(t.Context(), testbed.Options{Clusters: []string{"hades"}})
	testkit.Must(t, err)
	t.Cleanup(func() { _ = bed.Stop() })
	traefik, err := bed.Cluster("hades").StartTraefik(t.Context())
	testkit.Must(t, err)
	testkit.Must(t, bed.Cluster("hades").StartControllers(testbed.TokenController, testbed.NamespaceController)) // for usher cluster add
	hades := &testenv.Member{Cluster: bed.Cluster("hades"), Traefik: traefik}
	e := newEdge(t, t.TempDir()+"/edge")
	p := e.start(t).ready(t)

	out, err := p.usher(t.Context(), "cluster", "add", "hades", "--kubeconfig", hades.KubeconfigFile(), "--edge-kubeconfig", p.kubeconfig(), "--address", traefik.HTTPS.Addr().String(), "--yes")
	testkit.Must(t, err)
	t.Log(out)
	_, err = p.kubectl(t.Context(), "patch", "memberclusters", "hades", "--type=merge", "-p", fmt.Sprintf(`{"spec":{"ingress":{"httpsPort":%d,"httpPort":%d}}}`, traefik.HTTPS.Port(), traefik.HTTP.Port()))
	testkit.Must(t, err)
	testkit.Must(t, hades.Publish(t.Context(), "photos", "photos.techn.is", `usher.techn.is/expose: "true"`))
	answered := func() {
		t.Helper()
		testkit.Eventually(t, "the host should be served", func() error {
			_, err := testbed.GetAnswer(t.Context(), testbed.ClientTo(e.https), "https://photos.techn.is/")
			return err
		})
	}
	answered()
	for _, test := range []struct {
		args string
		want []string
	}{
		{"why photos.techn.is", []string{"photos.techn.is", "hades"}},
		{"knocks", []string{"HOST"}},
		{"history", []string{"photos.techn.is"}},
		{"cluster list", []string{"hades"}},
		{"doctor photos.techn.is", []string{"photos.techn.is"}},
	} {
		testkit.Eventually(t, "usher "+test.args+" should answer", func() error {
			out, err := p.usher(t.Context(), strings.Fields(test.args)...)
			if err != nil && !strings.HasPrefix(test.args, "doctor") || !testkit.ContainsAll(out, test.want) {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
	}

	p.kill(t)
	began := time.Now()
	p = e.start(t)
	answered()
	served := time.Since(began)
	p.ready(t)
	t.Logf("after SIGKILL the host is served after %v, and the API answers after %v", served.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))

	var routes strings.Builder
	for i := range hosts {
		fmt.Fprintf(&routes, "---\n{apiVersion: traefik.io/v1alpha1, kind: IngressRoute, metadata: {name: m%[1]d, namespace: default, annotations: {usher.techn.is/expose: \"true\"}}, spec: {entryPoints: [websecure], routes: [{match: \"Host(`m%[1]d.techn.is`)\", kind: Rule, services: [{name: photos, port: 80}]}]}}\n", i)
	}
	testkit.Must(t, hades.Apply(t.Context(), routes.String()))
	testkit.Eventually(t, "all hosts should be accepted", func() error {
		out, err := p.kubectl(t.Context(), "get", "exposedhosts", "-o", `jsonpath={range .items[*]}{.status.conditions[?(@.type=="Accepted")].status}{"\n"}{end}`)
		if n := strings.Count(out, "True"); n <= hosts {
			return fmt.Errorf("%d are: %w", n, err)
		}
		return nil
	})
	testkit.Eventually(t, "both processes should hold little memory", func() error {
		var all int
		var each []string
		for _, id := range append(p.children(), p.cmd.Process.Pid) {
			share := memory(t, id, "Pss")
			all += share
			each = append(each, fmt.Sprintf("process %d: %d MB resident, %d MB of them written; its share of both: %d MB", id, memory(t, id, "Rss"), memory(t, id, "Private_Dirty"), share))
		}
		if all > maxMemory {
			return fmt.Errorf("%d MB: %q", all, each)
		}
		t.Logf("with %d hosts: %d MB: %q", hosts+1, all, each)
		return nil
	})
}

// memory returns a value of a process's memory, in MB.
func memory(t *testing.T, id int, key string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", id))
	testkit.Must(t, err)
	found := regexp.MustCompile(`(?m)^` + key + `:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("no %s in %s", key, text)
	}
	n, err := strconv.Atoi(string(found[1]))
	testkit.Must(t, err)
	return n / 1024
}
