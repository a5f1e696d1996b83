package controllers_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/explain"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
)

// The Secret's password of the API of nas, and its line in the middleware: the hash is of
// the password by bcrypt, as
// htpasswd -nbB makes it: Traefik 3.7 accepts no older hash.
const (
	nasPassword = "correct-horse"
	nasUser     = "usher:$2b$04$AMFBbaPLBz6mizKvqtJduOJufR8V560J5Uu3O2dGwMQlsyFwFJtCC"
)

// nas is a Traefik with a file and containers in place of Kubernetes. Its API is served on a
// router of its own, with TLS and a password.
type nas struct {
	*testbed.Traefik
	file       string
	ca         []byte
	containers *containers
}

// startNAS starts a Traefik without Kubernetes.
func startNAS(t *testing.T) *nas {
	t.Helper()
	dir := t.TempDir()
	n := &nas{file: filepath.Join(dir, "dynamic.yaml"), containers: startContainers(t)}
	cert, key := selfSigned(t, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nas"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true})
	n.ca = cert
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "cert.pem"), cert, 0o600))
	testkit.Must(t, os.WriteFile(filepath.Join(dir, "key.pem"), key, 0o600))
	n.write(t)
	var err error
	n.Traefik, err = bed.StartTraefik(t.Context(), "nas", "--providers.file.filename="+n.file, "--providers.docker.endpoint="+n.containers.server.URL, "--providers.docker.exposedByDefault=false")
	testkit.Must(t, err)
	t.Cleanup(n.Stop)
	return n
}

// write writes the file: the API, and routers as lines of YAML.
func (n *nas) write(t *testing.T, routers ...string) {
	t.Helper()
	dir := filepath.Dir(n.file)
	text := fmt.Sprintf(`
http:
  middlewares: {password: {basicAuth: {users: [%q]}}}
  services: {app: {loadBalancer: {servers: [{url: "http://127.0.0.1:1"}]}}}
  routers:
    api: {rule: "PathPrefix(`+"`/api`"+`)", service: api@internal, entryPoints: [traefik], middlewares: [password], tls: {}}
    %s
tls: {certificates: [{certFile: %s/cert.pem, keyFile: %s/key.pem}], options: {exposed: {sniStrict: true}}}
`, nasUser, strings.Join(routers, "\n    "), dir, dir)
	testkit.Must(t, os.WriteFile(n.file+".new", []byte(text), 0o600))
	testkit.Must(t, os.Rename(n.file+".new", n.file))
}

// addNAS makes a member of a Traefik without Kubernetes.
func addNAS(t *testing.T, c client.Client, n *nas, change func(*v1alpha1.MemberCluster)) *corev1.Secret {
	t.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "nas-traefik"}, Data: map[string][]byte{"username": []byte("usher"), "password": []byte(nasPassword)}}
	create(t, c, secret)
	mc := &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "nas"}, Spec: v1alpha1.MemberClusterSpec{
		Traefik: &v1alpha1.TraefikAPI{URL: "https://" + n.API.String(), SecretName: secret.Name, CABundle: n.ca, Interval: &metav1.Duration{Duration: 2 * time.Second}, PublicEntryPoint: "websecure"},
		Ingress: v1alpha1.IngressEndpoint{Addresses: []string{"192.0.2.40"}},
	}}
	if change != nil {
		change(mc)
	}
	create(t, c, mc)
	return secret
}

// A Traefik without Kubernetes: what is on its public entry point is published, whatever its
// provider, and nothing else. It goes when the router goes, and not when Traefik does.
func TestTraefikWithoutKubernetes(t *testing.T) {
	c := edge(t)
	a := startExplaining(t)
	n := startNAS(t)
	routers := []string{
		"photos: {rule: 'Host(`photos.nas.is`)', service: app, entryPoints: [websecure]}",
		"stays: {rule: 'Host(`stays.nas.is`)', service: app, entryPoints: [websecure]}",
		"private: {rule: 'Host(`private.nas.is`)', service: app, entryPoints: [mqtts], tls: {}}",
		"plain: {rule: 'Host(`plain.nas.is`)', service: app, entryPoints: [web]}",
		"broken: {rule: 'Host(`broken.nas.is`)', service: nowhere, entryPoints: [websecure]}",
	}
	n.write(t, routers...)
	secret := addNAS(t, c, n, nil)
	mc := awaitMember(t, c, "nas", v1alpha1.ConditionReady, metav1.ConditionTrue, reason.Ready)
	if is := mc.Status.Traefik; is == nil || is.Version == "" || is.RuleSyntax != v1alpha1.RuleSyntaxV3 || is.DetectedBy != "/api/version" || len(is.EntryPoints) != 1 {
		t.Errorf("Traefik is %+v", is)
	}
	routed(t, a.table, "photos.nas.is", "nas")
	routed(t, a.table, "stays.nas.is", "nas")
	eh := awaitHost(t, c, "photos.nas.is", ready("nas"))
	if want := (v1alpha1.SourceRef{Cluster: "nas", Kind: "TraefikRouter", Namespace: "file", Name: "photos"}); len(eh.Status.Sources) != 1 || eh.Status.Sources[0] != want {
		t.Errorf("its sources are %+v", eh.Status.Sources)
	}
	awaitHost(t, c, "broken.nas.is", all(refused(reason.RouterInvalid), mentions("nowhere@file")))
	a.awaitWhy(t, "photos.nas.is", explain.Exposed, "by the word of TraefikRouter file/photos of nas", "")
	a.awaitWhy(t, "private.nas.is", explain.NotExposed, "TraefikRouter file/private of cluster nas names it and is not on the public entry point", "")
	n.write(t, append(routers, "anything: {rule: 'PathPrefix(`/`)', service: app, entryPoints: [websecure]}")...)
	testkit.Eventually(t, "the router without a host should be refused", func() error {
		for _, r := range awaitMember(t, c, "nas", v1alpha1.ConditionReady, metav1.ConditionTrue, reason.Ready).Status.Refusals {
			if r.Name == "anything" && r.Kind == "TraefikRouter" {
				return nil
			}
		}
		return fmt.Errorf("it is not")
	})

	// A container with labels, as Compose starts it.
	n.containers.run("whoami", map[string]string{"traefik.enable": "true", "traefik.http.routers.whoami.rule": "Host(`whoami.nas.is`)", "traefik.http.routers.whoami.entrypoints": "websecure", "traefik.http.services.whoami.loadbalancer.server.port": "80"})
	n.containers.run("vault", map[string]string{"traefik.enable": "true", "traefik.http.routers.vault.rule": "Host(`vault.nas.is`)", "traefik.http.routers.vault.entrypoints": "mqtts", "traefik.http.routers.vault.tls": "true", "traefik.http.services.vault.loadbalancer.server.port": "80"})
	routed(t, a.table, "whoami.nas.is", "nas")
	n.containers.remove("whoami")
	routed(t, a.table, "whoami.nas.is", "")
	awaitGone(t, c, "whoami.nas.is")

	// Wrong credentials, and then a Traefik that does not run, withdraw nothing.
	secret.Data["password"] = []byte("wrong")
	testkit.Must(t, c.Update(t.Context(), secret))
	awaitMember(t, c, "nas", v1alpha1.ConditionConnected, metav1.ConditionFalse, reason.Unauthorized)
	secret.Data["password"] = []byte(nasPassword)
	testkit.Must(t, c.Update(t.Context(), secret))
	awaitMember(t, c, "nas", v1alpha1.ConditionReady, metav1.ConditionTrue, reason.Ready)
	n.Stop()
	awaitMember(t, c, "nas", v1alpha1.ConditionConnected, metav1.ConditionFalse, reason.Unreachable)
	n.write(t, "stays: {rule: 'Host(`stays.nas.is`)', service: app, entryPoints: [websecure]}")
	testkit.Must(t, n.Start(t.Context()))
	began := time.Now()
	awaitMember(t, c, "nas", v1alpha1.ConditionConnected, metav1.ConditionTrue, reason.Connected)
	routed(t, a.table, "photos.nas.is", "")
	if took := time.Since(began); took < 25*time.Second {
		t.Errorf("photos was withdrawn %v after a start of Traefik, before its providers had time to load", took)
	}
	routed(t, a.table, "stays.nas.is", "nas")
	for _, host := range []string{"private.nas.is", "plain.nas.is", "vault.nas.is"} {
		if route := a.table.Load().Lookup(host); route != nil {
			t.Errorf("%s is routed: %+v", host, route)
		}
	}
}

// With isolation a router consents by its TLS options, and one on the public entry point
// without them is refused.
func TestIsolationOfATraefikWithoutKubernetes(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	n := startNAS(t)
	n.write(t,
		"isolated: {rule: 'Host(`isolated.nas.is`)', service: app, entryPoints: [websecure], tls: {options: exposed@file}}",
		"open: {rule: 'Host(`open.nas.is`)', service: app, entryPoints: [websecure], tls: {}}",
	)
	addNAS(t, c, n, func(mc *v1alpha1.MemberCluster) {
		mc.Spec.Isolation = &v1alpha1.Isolation{TLSOptions: v1alpha1.TLSOptionsRef{Namespace: "file", Name: "exposed"}}
	})
	routed(t, table, "isolated.nas.is", "nas")
	awaitHost(t, c, "open.nas.is", refused(reason.NotIsolated))
	mc := awaitMember(t, c, "nas", v1alpha1.ConditionReady, metav1.ConditionTrue, reason.Ready)
	mc.Spec.Traefik.PublicEntryPoint = "" // then the options alone consent
	testkit.Must(t, c.Update(t.Context(), mc))
	awaitGone(t, c, "open.nas.is")
	routed(t, table, "isolated.nas.is", "nas")
}

// Mistakes in spec.traefik are refused by the API server, or named in the condition.
func TestMistakesInTraefikAPI(t *testing.T) {
	c := edge(t)
	startUsher(t)
	base := func() *v1alpha1.MemberCluster {
		return &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "nas"}, Spec: v1alpha1.MemberClusterSpec{
			Traefik: &v1alpha1.TraefikAPI{URL: "https://traefik.invalid", PublicEntryPoint: "websecure"},
			Ingress: v1alpha1.IngressEndpoint{Addresses: []string{"192.0.2.40"}},
		}}
	}
	for want, change := range map[string]func(*v1alpha1.MemberClusterSpec){
		"not both":                     func(s *v1alpha1.MemberClusterSpec) { s.Kubeconfig = &v1alpha1.KubeconfigRef{SecretName: "x"} },
		"needs ingress.addresses":      func(s *v1alpha1.MemberClusterSpec) { s.Ingress.Addresses = nil },
		"needs traefik.publicEntry":    func(s *v1alpha1.MemberClusterSpec) { s.Traefik.PublicEntryPoint = "" },
		"not a URL":                    func(s *v1alpha1.MemberClusterSpec) { s.Traefik.URL = "traefik.home.arpa" },
		"interval is between 2s and 1": func(s *v1alpha1.MemberClusterSpec) { s.Traefik.Interval = &metav1.Duration{Duration: time.Second} },
	} {
		mc := base()
		change(&mc.Spec)
		if err := c.Create(t.Context(), mc); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
			_ = c.Delete(t.Context(), mc)
		}
	}
	create(t, c, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "half"}, Data: map[string][]byte{"username": []byte("x")}})
	mc := base()
	create(t, c, mc)
	for want, change := range map[string]func(*v1alpha1.MemberClusterSpec){
		"is not encrypted":                            func(s *v1alpha1.MemberClusterSpec) { s.Traefik.URL = "http://traefik.home.arpa" },
		"put the user into the Secret":                func(s *v1alpha1.MemberClusterSpec) { s.Traefik.URL = "https://a:secret@traefik.home.arpa" },
		"write it without the path /api":              func(s *v1alpha1.MemberClusterSpec) { s.Traefik.URL = "https://traefik.home.arpa/api/" },
		"it has no PEM certificate":                   func(s *v1alpha1.MemberClusterSpec) { s.Traefik.CABundle = []byte("x") },
		"there is no Secret missing in namespace":     func(s *v1alpha1.MemberClusterSpec) { s.Traefik.SecretName = "missing" },
		"Secret half: it needs the keys username and": func(s *v1alpha1.MemberClusterSpec) { s.Traefik.SecretName = "half" },
	} {
		testkit.Must(t, c.Get(t.Context(), client.ObjectKeyFromObject(mc), mc))
		mc.Spec = base().Spec
		change(&mc.Spec)
		testkit.Must(t, c.Update(t.Context(), mc))
		testkit.Eventually(t, want, func() error {
			var is v1alpha1.MemberCluster
			testkit.Must(t, c.Get(t.Context(), client.ObjectKeyFromObject(mc), &is))
			text, _ := json.Marshal(is.Status.Conditions)
			if !strings.Contains(string(text), want) || strings.Contains(string(text), "a:secret") {
				return fmt.Errorf("it is %s", text)
			}
			return nil
		})
	}
}

// containers stands in for the part of Docker's API that Traefik's provider reads.
type containers struct {
	server *httptest.Server

	mu      sync.Mutex
	all     map[string]map[string]string // name → labels
	changed chan struct{}                // closed at the next change
}

func startContainers(t *testing.T) *containers {
	t.Helper()
	d := &containers{all: map[string]map[string]string{}, changed: make(chan struct{})}
	d.server = httptest.NewServer(d)
	d.server.URL = strings.Replace(d.server.URL, "http://", "tcp://", 1)
	t.Cleanup(func() { d.server.CloseClientConnections(); d.server.Close() })
	return d
}

func (d *containers) run(name string, labels map[string]string) {
	d.change(func() { d.all[name] = labels })
}
func (d *containers) remove(name string) { d.change(func() { delete(d.all, name) }) }

func (d *containers) change(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	close(d.changed)
	d.changed = make(chan struct{})
}

// inspected is a container as Docker's API describes it.
func inspected(name string, labels map[string]string) map[string]any {
	networks := map[string]any{"Networks": map[string]any{"bridge": map[string]any{"IPAddress": "172.17.0.2", "NetworkID": "1"}}}
	return map[string]any{
		"Id": name, "Names": []string{"/" + name}, "Name": "/" + name, "Labels": labels, "State": map[string]any{"Status": "running", "Running": true},
		"Config": map[string]any{"Labels": labels}, "HostConfig": map[string]any{"NetworkMode": "bridge"}, "NetworkSettings": networks,
	}
}

func (d *containers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	changed := d.changed
	list := []map[string]any{}
	one := map[string]any{}
	for name, labels := range d.all {
		c := inspected(name, labels)
		if strings.Contains(r.URL.Path, "/containers/"+name+"/json") {
			one = inspected(name, labels)
		}
		c["State"] = "running"
		list = append(list, c)
	}
	d.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Api-Version", "1.47")
	switch {
	case strings.HasSuffix(r.URL.Path, "/_ping"):
		_, _ = fmt.Fprint(w, "OK")
	case strings.HasSuffix(r.URL.Path, "/version"):
		_ = json.NewEncoder(w).Encode(map[string]any{"Version": "27.0.0", "ApiVersion": "1.47", "MinAPIVersion": "1.24"})
	case strings.HasSuffix(r.URL.Path, "/containers/json"):
		_ = json.NewEncoder(w).Encode(list)
	case strings.HasSuffix(r.URL.Path, "/json"):
		_ = json.NewEncoder(w).Encode(one)
	case strings.HasSuffix(r.URL.Path, "/events"):
		w.(http.Flusher).Flush()
		for {
			select {
			case <-changed:
			case <-r.Context().Done():
				return
			}
			d.mu.Lock()
			changed = d.changed
			d.mu.Unlock()
			_ = json.NewEncoder(w).Encode(map[string]any{"Type": "container", "Action": "start", "status": "start", "Actor": map[string]any{"ID": "x"}})
			w.(http.Flusher).Flush()
		}
	default:
		http.NotFound(w, r)
	}
}
