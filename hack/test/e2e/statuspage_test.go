package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testenv"
)

// A person who looks at the status page sees each change, without loading the page again.
// With SCREENSHOTS=DIR the test writes pictures of the page to DIR.
func TestStatusPage(t *testing.T) {
	findChromium(t)
	address := fmt.Sprintf("http://%s/", env.API)
	page := openTab(t, address+"?q=paged") // tests before may have left more hosts than a page has
	page.shows("that it is live", "#live", "Live")
	page.eval(`window.loaded = "once"`)

	const host = "paged.techn.is"
	const row = "#h-paged\\.techn\\.is"
	const members = "a[href='#members']" // an audit may find that a member is unhealthy, which its own card says instead
	for app, names := range map[string]string{"photos": "photos.paged.techn.is", "wiki": "wiki.paged.techn.is", "git": "git.paged.techn.is"} {
		testkit.Must(t, env.Hades.Publish(t.Context(), app, names, `usher.techn.is/expose: "true"`))
	}
	testkit.Must(t, env.Illmatic.Publish(t.Context(), "media", "media.paged.techn.is", `usher.techn.is/expose: "true"`))
	testkit.Must(t, env.Illmatic.Publish(t.Context(), "broken", "broken.paged.techn.is", `usher.techn.is/expose: "true"`, `usher.techn.is/plain-http: "sometimes"`))
	testkit.Must(t, env.Hades.Publish(t.Context(), "paged", host))
	unanswered(t, host)
	page.shows("a knock that nobody annotated", "#k-paged\\.techn\\.is", "served by hades, not annotated")
	page.shows("a malformed annotation", "#h-broken\\.paged\\.techn\\.is", "AnnotationInvalid")

	kubectl(t, env.Hades.Cluster, "annotate", "ingressroute", "paged", expose)
	page.shows("an annotated host", row, "Exposed")
	page.shows("where it comes from", row, "IngressRoute default/paged")
	answered(t, host, "hades")
	page.shows("the change", "#history", host)

	connection, err := tls.Dial("tcp", env.HTTPS.String(), &tls.Config{ServerName: host, InsecureSkipVerify: true})
	testkit.Must(t, err)
	page.shows("an open connection", row+" [data-label=Connections]", "1")
	testkit.Must(t, connection.Close())
	page.shows("that it was closed", row+" [data-label=Connections]", "0")

	testkit.Must(t, env.Illmatic.Publish(t.Context(), "paged", host, `usher.techn.is/expose: "true"`))
	page.shows("a conflict", row, "illmatic requests it too and is refused: HeldByAnother")
	own := openTab(t, address+"hosts/"+host)
	own.shows("the rival on the page of the host", "#host", "IngressRoute default/paged of illmatic: HeldByAnother")

	own.shows("each step from the objects to the sockets", "#why", "Backends")
	own.shows("the source in the explanation", "#why", "IngressRoute default/paged")
	pictures(t, page, own)

	kubectl(t, env.Illmatic.Cluster, "annotate", "ingressroute", "paged", unexpose)
	page.shows("the end of the conflict", row+" .rival", "")
	kubectl(t, env.Hades.Cluster, "annotate", "ingressroute", "paged", unexpose)
	page.shows("that the host is gone", row, "")
	page.shows("that it was withdrawn", "#history", "Withdrawn "+host)
	own.shows("that nothing has the name", "#host", "No ExposedHost and no route has this name")

	page.shows("the members in sync", members, "2 of 2")
	env.Illmatic.Cluster.Stop()
	page.shows("a dead member", "#m-illmatic", "not connected")
	page.shows("its hosts all the same", "#h-media\\.paged\\.techn\\.is", "Exposed")
	testkit.Must(t, env.Illmatic.Cluster.Start(context.Background()))
	page.shows("its return", members, "2 of 2")
	if page.eval(`window.loaded`) != "once" {
		t.Error("the page was loaded again")
	}
}

// pictures writes pictures of the pages if SCREENSHOTS is set.
func pictures(t *testing.T, list, host *tab) {
	t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	list.picture(filepath.Join(dir, "status-light.png"), 1280, 900, "light")
	list.picture(filepath.Join(dir, "status-dark.png"), 1280, 900, "dark")
	list.picture(filepath.Join(dir, "status-phone.png"), 390, 844, "dark")
	host.picture(filepath.Join(dir, "host-light.png"), 1280, 900, "light")
	host.picture(filepath.Join(dir, "host-phone.png"), 390, 844, "light")
}

// What a person feels with 10,000 hosts is printed: the times depend on the machine.
func TestStatusPageWithManyHosts(t *testing.T) {
	findChromium(t)
	const hosts = 10_000
	dir := t.TempDir()
	usher, err := testenv.Run(t.Context(), env.Bed, "usher-many", program, env.Edge, "--controllers=false", "--manifests="+dir, "--kubeconfig=")
	testkit.Must(t, err)
	t.Cleanup(func() { _ = usher.Terminate(context.Background()) })
	var manifests strings.Builder
	for i := range hosts {
		fmt.Fprintf(&manifests, "---\n{apiVersion: usher.techn.is/v1alpha1, kind: ExposedHost, metadata: {name: app-%05[1]d.techn.is}, spec: {host: app-%05[1]d.techn.is, backends: [{address: 192.0.2.%[2]d}]}}\n", i, i%250+1)
	}
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "hosts.yaml"), []byte(manifests.String()), 0o600))
	address := fmt.Sprintf("http://%s/", usher.API)
	page := openTab(t, address)
	page.shows("the number of hosts", "#tabs", "10\u202f000")
	page.navigate(address) // with warm caches, as the second look
	t.Logf("first contentful paint after %.0f ms, the page is complete after %.0f ms", page.eval(`new Promise((done) => {
		const seen = () => { const p = performance.getEntriesByName("first-contentful-paint")[0]; if (p) done(p.startTime); else requestAnimationFrame(seen); };
		seen();
	})`), page.eval(`performance.getEntriesByType("navigation")[0].domComplete`))
	page.eval(`{
		window.keys = [];
		const field = document.querySelector("input[name=q]");
		field.focus();
		field.addEventListener("input", () => {
			const began = performance.now();
			const changes = new MutationObserver(() => { changes.disconnect(); requestAnimationFrame(() => requestAnimationFrame(() => window.keys.push(performance.now() - began))); });
			changes.observe(document.getElementById("hosts"), { childList: true, subtree: true, characterData: true, attributes: true });
		}, true);
	}`)
	for i, key := range []string{"0", "4", "2", "4", "2"} {
		page.call("Input.insertText", map[string]any{"text": key})
		page.shows("the keystroke", "#hosts", "app-")
		testkit.Eventually(t, "the keystroke should be painted", func() error {
			if n := page.eval(`window.keys.length`); n != float64(i+1) {
				return fmt.Errorf("%v keystrokes were", n)
			}
			return nil
		})
	}
	t.Logf("from a keystroke in the search until its hosts are painted: %v ms", page.eval(`window.keys.map((ms) => Math.round(ms)).join(", ")`))
	page.shows("the host that was searched for", "#hosts", "app-04242.techn.is")
}
