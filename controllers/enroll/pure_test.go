package enroll

import (
	"encoding/pem"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/jovalle/usher/controllers/member"
	"github.com/jovalle/usher/hack/test/testkit"
)

func TestValidateOptions(t *testing.T) {
	traefik := types.NamespacedName{Namespace: "traefik", Name: "traefik"}
	for _, test := range []struct {
		name   string
		change func(*Options)
		valid  bool
	}{
		{"a name alone", func(*Options) {}, true},
		{"63 characters", func(o *Options) { o.Name = strings.Repeat("a", 63) }, true},
		{"64 characters", func(o *Options) { o.Name = strings.Repeat("a", 64) }, false},
		{"no name", func(o *Options) { o.Name = "" }, false},
		{"a name with a dot", func(o *Options) { o.Name = "hades.home" }, false},
		{"a name in upper case", func(o *Options) { o.Name = "Hades" }, false},
		{"a name that is a path", func(o *Options) { o.Name = "../hades" }, false},
		{"addresses of all kinds", func(o *Options) { o.Addresses = []string{"192.0.2.1", "2001:db8::1", "Traefik.home"} }, true},
		{"an address with a port", func(o *Options) { o.Addresses = []string{"192.0.2.1:443"} }, false},
		{"an address with a wrong number", func(o *Options) { o.Addresses = []string{"192.168.1.300"} }, false},
		{"several addresses in one", func(o *Options) { o.Addresses = []string{"192.0.2.1,192.0.2.2"} }, false},
		{"an empty address", func(o *Options) { o.Addresses = []string{""} }, false},
		{"an address and a Service", func(o *Options) { o.Addresses, o.Service = []string{"192.0.2.1"}, traefik }, true},
		{"a server", func(o *Options) { o.Server = "https://192.0.2.1:6443" }, true},
		{"a server with a path", func(o *Options) { o.Server = "https://rancher.home/k8s/clusters/c-1" }, true},
		{"a server in the clear", func(o *Options) { o.Server = "http://192.0.2.1:8080" }, false},
		{"a server without a scheme", func(o *Options) { o.Server = "192.0.2.1:6443" }, false},
		{"a server without a host", func(o *Options) { o.Server = "https://:6443" }, false},
		{"a server with a password", func(o *Options) { o.Server = "https://me:secret@192.0.2.1" }, false},
		{"a namespace in upper case", func(o *Options) { o.Namespace = "Usher" }, false},
		{"no time", func(o *Options) { o.Timeout = 0 }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := options(nil)
			test.change(&o)
			if err := o.Validate(); (err == nil) != test.valid {
				t.Errorf("valid should be %v: %v", test.valid, err)
			}
		})
	}
}

func TestLoopbackServers(t *testing.T) {
	for server, loopback := range map[string]bool{
		"https://127.0.0.1:6443":             true,
		"https://127.1.2.3:6443":             true,
		"https://[::1]:6443":                 true,
		"https://localhost:6443":             true,
		"https://0.0.0.0:6443":               true,
		"https://192.168.1.10:6443":          false,
		"https://localhost.example.com:6443": false,
		"https://kubernetes.default.svc":     false,
	} {
		if got := isLoopback(server); got != loopback {
			t.Errorf("%s: %v", server, got)
		}
	}
}

func TestStoredKubeconfigHasOnlyServerCAAndToken(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	clusters, files, given := "the cluster's CA\n"+certificate, "a file's CA\n"+certificate, "a CA\n"+certificate // text before a certificate is ignored
	token := &corev1.Secret{Data: map[string][]byte{"token": []byte("the-token"), "ca.crt": []byte(clusters)}}
	authority := writeFile(t, "ca.crt", files, 0o600)
	for _, test := range []struct {
		name     string
		tls      rest.TLSClientConfig
		wantCA   string
		wantName string
	}{
		{"the CA of the kubeconfig", rest.TLSClientConfig{CAData: []byte(given)}, given, ""},
		{"the CA of a file is put in", rest.TLSClientConfig{CAFile: authority}, files, ""},
		{"the name of the certificate is kept", rest.TLSClientConfig{CAData: []byte(given), ServerName: "kubernetes"}, given, "kubernetes"},
		{"a certificate that nobody checked is checked at the edge", rest.TLSClientConfig{Insecure: true}, clusters, ""},
		{"a public CA needs none", rest.TLSClientConfig{}, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := &rest.Config{Host: "https://127.0.0.1:6443", Username: "me", Password: "mine", BearerTokenFile: "/me", TLSClientConfig: test.tls}
			data, err := storedKubeconfig("hades", "https://192.0.2.1:6443", config, token)
			testkit.Must(t, err)
			parsed, err := member.ParseKubeconfig(data, "", false)
			testkit.Must(t, err)
			got := parsed.REST
			if got.Host != "https://192.0.2.1:6443" || got.BearerToken != "the-token" || got.Username+got.Password+got.BearerTokenFile != "" ||
				string(got.CAData) != test.wantCA || got.ServerName != test.wantName || got.Insecure {
				t.Errorf("stored:\n%s", data)
			}
		})
	}
}
