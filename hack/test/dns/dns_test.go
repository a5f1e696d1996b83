package dns

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed/servers"
)

const namespace = "usher-system"

// prepare installs what usher and external-dns need in a home, which is its own member.
func prepare(t *testing.T, home string) {
	t.Helper()
	cluster := bed.Cluster(home)
	testkit.Must(t, cluster.ApplyFiles(t.Context(), "../../../config/crd/*.yaml"))
	testkit.Must(t, cluster.InstallExternalDNSCRDs(t.Context()))
	testkit.Must(t, cluster.Apply(t.Context(), "{apiVersion: v1, kind: Namespace, metadata: {name: usher-system}}\n---\n"+
		"{apiVersion: usher.techn.is/v1alpha1, kind: MemberCluster, metadata: {name: self}, spec: {ingress: {addresses: [192.0.2.10]}}}"))
}

// startUsher runs usher's control plane in a home until the test ends.
func startUsher(t *testing.T, home string, flags ...string) {
	t.Helper()
	args := append([]string{"run", "--proxy=false", "--kubeconfig=" + bed.Cluster(home).KubeconfigFile(), "--admin-listen=127.0.0.1:0", "--handover-grace=0s"}, flags...)
	usher, err := bed.Run(home+"-usher", nil, program, args...)
	testkit.Must(t, err)
	t.Cleanup(usher.Kill)
}

// documented returns the flags of external-dns that its own chart makes of the values in
// docs/dns.md for a view.
func documented(t *testing.T, view string) []string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/dns.md")
	testkit.Must(t, err)
	values := regexp.MustCompile("(?s)```yaml\n(# external-dns-" + view + "\n.*?)```").FindSubmatch(text)
	if values == nil {
		t.Fatalf("docs/dns.md has no values for the view %s", view)
	}
	file := filepath.Join(t.TempDir(), "values.yaml")
	testkit.Must(t, os.WriteFile(file, values[1], 0o600))
	helm, err := servers.Locate(servers.Helm)
	testkit.Must(t, err)
	find := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/external-dns")
	find.Dir, find.Env = "../../testbed/servers/external-dns", append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	dir, err := find.Output()
	testkit.Must(t, err)
	chart := filepath.Join(strings.TrimSpace(string(dir)), "charts/external-dns")
	rendered, err := exec.CommandContext(t.Context(), helm, "template", "external-dns", chart, "--namespace="+namespace, "--values="+file, "--show-only=templates/deployment.yaml").CombinedOutput()
	if err != nil {
		t.Fatalf("external-dns's chart refuses the values: %v\n%s", err, rendered)
	}
	var deployment appsv1.Deployment
	testkit.Must(t, yaml.Unmarshal(rendered, &deployment))
	return deployment.Spec.Template.Spec.Containers[0].Args
}

// startExternalDNS runs external-dns in a home with the documented flags of a view. What differs in the test is replaced: the provider, the server, the key, and that it
// is no pod.
func startExternalDNS(t *testing.T, home, view, owner string, server *nameServer) {
	t.Helper()
	path, err := servers.Locate(servers.ExternalDNS)
	testkit.Must(t, err)
	args := documented(t, view)
	replaced := []string{"--provider=", "--rfc2136-", "--interval=", "--txt-owner-id="}
	args = slices.DeleteFunc(args, func(arg string) bool {
		return slices.ContainsFunc(replaced, func(prefix string) bool { return strings.HasPrefix(arg, prefix) })
	})
	inside := documented(t, "internal")
	for _, arg := range inside {
		if strings.HasPrefix(arg, "--rfc2136-") || strings.HasPrefix(arg, "--provider=") {
			arg = strings.NewReplacer("192.168.1.53", "127.0.0.1", "$(TSIG_SECRET)", secret).Replace(arg)
			args = append(args, arg)
		}
	}
	args = append(args, "--rfc2136-port="+strconv.Itoa(int(server.address.Port())), "--rfc2136-min-ttl=1s", "--txt-owner-id="+owner, "--interval=2s",
		"--min-event-sync-interval=200ms", "--metrics-address=127.0.0.1:0", "--kubeconfig="+bed.Cluster(home).KubeconfigFile())
	process, err := bed.Run(owner, nil, path, args...)
	testkit.Must(t, err)
	t.Cleanup(process.Kill)
}

const ingress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: %[1]s, namespace: default, annotations: {%[3]s}}
spec: {rules: [{host: %[2]q, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}]}}]}
`

const expose = `usher.techn.is/expose: "true"`

// publish applies an Ingress of a host in a home; annotations are as YAML has them.
func publish(t *testing.T, home, name, host, annotations string) {
	t.Helper()
	testkit.Must(t, bed.Cluster(home).Apply(t.Context(), fmt.Sprintf(ingress, name, host, annotations)))
	t.Cleanup(func() {
		_, _ = bed.Cluster(home).Kubectl(context.Background(), "delete", "ingress", "--ignore-not-found", "-n", "default", name)
	})
}

// An annotation makes a record in both views, and its end removes it. usher sees whether the
// world has it.
func TestAnnotationMakesARecord(t *testing.T) {
	prepare(t, "home")
	public, internal := startNamed(t, "public-named"), startNamed(t, "internal-named")
	startUsher(t, "home", "--dns-target=203.0.113.7,2001:db8::7", "--dns-internal-target=192.168.1.2", "--dns-ttl=60", "--dns-resolver="+public.address.String())
	startExternalDNS(t, "home", "public", "home-public", public)
	startExternalDNS(t, "home", "internal", "home-internal", internal)

	began := time.Now()
	publish(t, "home", "app", "app.techn.is", expose)
	public.awaitHas(t, "app.techn.is", "2001:db8::7", "203.0.113.7")
	t.Logf("from the annotation to the answer: %v", time.Since(began).Round(10*time.Millisecond))
	internal.awaitHas(t, "app.techn.is", "192.168.1.2")
	publish(t, "home", "wild", "*.wild.techn.is", expose)
	publish(t, "home", "none", "none.techn.is", expose+`, usher.techn.is/dns: "false"`)
	public.awaitHas(t, "any.wild.techn.is", "2001:db8::7", "203.0.113.7")
	internal.awaitHas(t, "any.wild.techn.is", "192.168.1.2")
	if owner := public.owner(t, "app.techn.is"); owner != "home-public" {
		t.Errorf("the owner of the record is %q", owner)
	}
	for _, host := range []string{"app.techn.is", "wildcard.wild.techn.is"} {
		testkit.Eventually(t, host+" should be seen", func() error {
			reason, err := bed.Cluster("home").Kubectl(t.Context(), "get", "eh", host, `--output=jsonpath={.status.conditions[?(@.type=="DNSReady")].reason}`)
			if err == nil && reason != "DNSResolved" {
				err = fmt.Errorf("DNSReady is %s", reason)
			}
			return err
		})
	}
	for _, server := range []*nameServer{public, internal} {
		testkit.Must(t, server.has(t, "none.techn.is"))
	}

	publish(t, "home", "app", "app.techn.is", `usher.techn.is/expose: "false"`)
	for _, server := range []*nameServer{public, internal} {
		server.awaitHas(t, "app.techn.is")
		server.awaitHas(t, "any.wild.techn.is", map[*nameServer][]string{public: {"2001:db8::7", "203.0.113.7"}, internal: {"192.168.1.2"}}[server]...)
	}
	checkZone(t, public)
}

// checkZone checks that BIND reads what usher dns prints as a part of a zone.
func checkZone(t *testing.T, server *nameServer) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, "dns", "--dns-target=203.0.113.7,2001:db8::7", "--edge-kubeconfig="+bed.Cluster("home").KubeconfigFile())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	lines, err := cmd.Output()
	if err != nil || string(lines) != "*.wild.techn.is. IN A 203.0.113.7\n*.wild.techn.is. IN AAAA 2001:db8::7\n" {
		t.Fatalf("usher dns: %v\n%s%s", err, lines, &stderr)
	}
	file := filepath.Join(t.TempDir(), "zone")
	testkit.Must(t, os.WriteFile(file, append([]byte(emptyZone), lines...), 0o600))
	if out, err := exec.CommandContext(t.Context(), "named-checkzone", "techn.is", file).CombinedOutput(); err != nil {
		t.Errorf("BIND refuses the zone of %s: %v\n%s", server.address, err, out)
	}
}

// Two homes that write into one zone do not take each other's records: the first keeps the
// name, and the second has it when the first gives it up.
func TestTwoHomesShareAZone(t *testing.T) {
	zone := startNamed(t, "shared-named")
	for home, target := range map[string]string{"home": "203.0.113.7", "cabin": "198.51.100.1"} {
		prepare(t, home)
		startUsher(t, home, "--dns-target="+target)
		startExternalDNS(t, home, "public", home+"-owner", zone)
	}
	publish(t, "home", "both", "both.techn.is", expose)
	zone.awaitHas(t, "both.techn.is", "203.0.113.7")
	publish(t, "cabin", "both", "both.techn.is", expose)
	publish(t, "cabin", "alone", "alone.techn.is", expose)
	zone.awaitHas(t, "alone.techn.is", "198.51.100.1")
	testkit.Consistently(t, 5*time.Second, "both.techn.is", func() error { return zone.has(t, "both.techn.is", "203.0.113.7") })
	if owner := zone.owner(t, "both.techn.is"); owner != "home-owner" {
		t.Errorf("the owner of the record is %q", owner)
	}
	publish(t, "home", "both", "both.techn.is", `usher.techn.is/expose: "false"`)
	zone.awaitHas(t, "both.techn.is", "198.51.100.1")
	publish(t, "cabin", "alone", "alone.techn.is", `usher.techn.is/expose: "false"`)
	zone.awaitHas(t, "alone.techn.is")
	testkit.Must(t, zone.has(t, "both.techn.is", "198.51.100.1"))
}
