package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
	"github.com/jovalle/usher/hack/testbed/servers"
	"github.com/jovalle/usher/hack/testenv"
)

// A finding of usher doctor, as it prints it.
type finding struct {
	Kind, Host, Cluster, Evidence, Risk string
	Cure                                []string
}

// doctor audits hosts at a running usher, and returns the findings and the exit code.
func doctor(t *testing.T, u *testenv.Usher, hosts ...string) ([]finding, int) {
	t.Helper()
	command := exec.CommandContext(t.Context(), program, append([]string{"doctor", "-o", "json", "--admin", "http://" + u.API.String()}, hosts...)...)
	var said strings.Builder
	command.Stderr = &said
	out, err := command.Output()
	if failed := new(exec.ExitError); err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	var report struct{ Findings []finding }
	if err := json.Unmarshal(out, &report); err != nil && command.ProcessState.ExitCode() < 2 {
		t.Fatalf("%v: %s\n%s", err, out, said.String())
	}
	return report.Findings, command.ProcessState.ExitCode()
}

// finds waits until the audit of a host has a kind of finding, and returns it.
func finds(t *testing.T, u *testenv.Usher, host, kind string) (is finding) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("%s should be found about %s", kind, host), func() error {
		all, code := doctor(t, u, host)
		for _, f := range all {
			if f.Kind == kind && code == 1 {
				is = f
				return nil
			}
		}
		return fmt.Errorf("exit code %d, %+v", code, all)
	})
	if is.Host != host || is.Evidence == "" || is.Risk == "" || len(is.Cure) == 0 {
		t.Errorf("the finding is incomplete: %+v", is)
	}
	t.Logf("%s: %s; cure: %s", is.Kind, is.Evidence, strings.Join(is.Cure, "; "))
	return is
}

// cured waits until the audit of a host has none of some kinds.
func cured(t *testing.T, u *testenv.Usher, host string, kinds ...string) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("%v of %s should be cured", kinds, host), func() error {
		all, code := doctor(t, u, host)
		if code > 1 {
			return fmt.Errorf("exit code %d", code)
		}
		for _, f := range all {
			if slices.Contains(kinds, f.Kind) {
				return fmt.Errorf("it is %+v", f)
			}
		}
		return nil
	})
}

// runCure runs the printed commands in a shell whose kubectl has the context of the edge
// and that of hades.
func runCure(t *testing.T, edge *testbed.Cluster, f *finding, replace ...string) {
	t.Helper()
	path, err := servers.Locate(servers.Kubectl)
	testkit.Must(t, err)
	for _, command := range f.Cure {
		command = strings.NewReplacer(replace...).Replace(command)
		shell := exec.CommandContext(t.Context(), "bash", "-o", "pipefail", "-c", command)
		shell.Env = append(os.Environ(), "KUBECONFIG="+edge.KubeconfigFile()+":"+env.Hades.KubeconfigFile(),
			"PATH="+filepath.Dir(path)+":"+filepath.Dir(program)+":"+os.Getenv("PATH"))
		if out, err := shell.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
}

// certificateFor writes a self-signed certificate and its key into files.
func certificateFor(t *testing.T, until time.Time, names ...string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	testkit.Must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: until}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	testkit.Must(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	testkit.Must(t, err)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	testkit.Must(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), 0o600))
	testkit.Must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), 0o600))
	return certFile, keyFile
}

const exposeIt = `usher.techn.is/expose: "true"`

// atEnd runs kubectl when the test ends.
func atEnd(t *testing.T, c *testbed.Cluster, args ...string) {
	t.Helper()
	t.Cleanup(func() {
		if out, err := c.Kubectl(context.Background(), args...); err != nil {
			t.Errorf("kubectl %v: %v\n%s", args, err, out)
		}
	})
}

// secretFor makes a TLS Secret in hades.
func secretFor(t *testing.T, name string, until time.Time, names ...string) {
	t.Helper()
	cert, key := certificateFor(t, until, names...)
	kubectl(t, env.Hades.Cluster, "create", "secret", "tls", name, "--cert="+cert, "--key="+key)
	atEnd(t, env.Hades.Cluster, "delete", "secret", name)
}

// A certificate of Traefik's own, one of another name, and one that ends soon are found,
// and cured by the printed commands.
func TestDoctorFindsCertificates(t *testing.T) {
	const host = "certificate.doctor.techn.is"
	later := time.Now().Add(90 * 24 * time.Hour)
	testkit.Must(t, env.Hades.Publish(t.Context(), "doctor-certificate", host, exposeIt))
	answered(t, host, "hades")
	missing := finds(t, env.Usher, host, "DefaultCertificate")

	secretFor(t, "doctor-other", later, "other.doctor.techn.is")
	store := `{apiVersion: traefik.io/v1alpha1, kind: TLSStore, metadata: {name: default, namespace: default}, spec: {defaultCertificate: {secretName: doctor-other}}}`
	testkit.Must(t, env.Hades.Apply(t.Context(), store))
	atEnd(t, env.Hades.Cluster, "delete", "tlsstore", "default", "--ignore-not-found")
	other := finds(t, env.Usher, host, "CertificateMismatch")
	soon, soonKey := certificateFor(t, time.Now().Add(3*24*time.Hour), host)
	runCure(t, env.Edge, &other, "FULLCHAIN", soon, "KEY", soonKey)
	cured(t, env.Usher, host, "CertificateMismatch")
	expiring := finds(t, env.Usher, host, "CertificateExpiry")
	cert, key := certificateFor(t, later, host)
	runCure(t, env.Edge, &expiring, "FULLCHAIN", cert, "KEY", key)
	cured(t, env.Usher, host, "CertificateExpiry", "CertificateMismatch", "DefaultCertificate")

	kubectl(t, env.Hades.Cluster, "delete", "tlsstore", "default")
	kubectl(t, env.Hades.Cluster, "patch", "ingressroute", "doctor-certificate", "--type=json", `--patch=[{"op": "remove", "path": "/spec/tls"}]`)
	finds(t, env.Usher, host, "DefaultCertificate")
	runCure(t, env.Edge, &missing, "FULLCHAIN", cert, "KEY", key)
	cured(t, env.Usher, host, "DefaultCertificate")
}

// A private host, and a host of other clients, that are reached with the name of an exposed
// one, and a host of another cluster that its certificate covers, are found. usher cluster
// isolate, which is printed, ends all three.
func TestDoctorFindsLeaks(t *testing.T) {
	const host, narrow, far = "wide.leak.techn.is", "narrow.leak.techn.is", "far.leak.techn.is"
	secretFor(t, "doctor-wildcard", time.Now().Add(90*24*time.Hour), "*.leak.techn.is")
	testkit.Must(t, env.Hades.Publish(t.Context(), "doctored-wide", host, exposeIt))
	testkit.Must(t, env.Hades.Publish(t.Context(), "doctored-narrow", narrow, exposeIt, "usher.techn.is/allow-from: 127.0.0.0/8"))
	testkit.Must(t, env.Hades.Publish(t.Context(), "doctored-private", "private.leak.techn.is"))
	testkit.Must(t, env.Illmatic.Publish(t.Context(), "doctored-far", far, exposeIt))
	kubectl(t, env.Hades.Cluster, "patch", "ingressroute", "doctored-wide", "--type=merge", `--patch={"spec":{"tls":{"secretName":"doctor-wildcard"}}}`)
	for host, cluster := range map[string]string{host: "hades", narrow: "hades", far: "illmatic"} {
		answered(t, host, cluster)
	}
	testkit.Eventually(t, "the host of other clients should be named", func() error {
		if leak := finds(t, env.Usher, host, "FrontingLeak"); !strings.Contains(leak.Evidence, narrow) && !strings.Contains(leak.Evidence, "more") {
			return fmt.Errorf("it is %s", leak.Evidence)
		}
		return nil
	})
	leak := finds(t, env.Usher, narrow, "FrontingLeak") // only private hosts: its clients may reach the other one
	if strings.Contains(leak.Evidence, host) {
		t.Errorf("clients of %s may connect to %s: %s", narrow, host, leak.Evidence)
	}
	if coalesced := finds(t, env.Usher, host, "CoalescingRisk"); !strings.Contains(coalesced.Evidence, far) {
		t.Errorf("it is %s", coalesced.Evidence)
	}
	if want := "usher cluster isolate hades --context hades --patch"; len(leak.Cure) != 1 || leak.Cure[0] != want {
		t.Errorf("the cure is %q", leak.Cure)
	}
	isolate(t, env.Hades, "doctored-") // runs it, and of the commands that it prints those for the objects of this test
	cured(t, env.Usher, host, "FrontingLeak", "CoalescingRisk")
	cured(t, env.Usher, narrow, "FrontingLeak")
	answered(t, host, "hades")
}

// byHand writes an ExposedHost for an endpoint.
func byHand(t *testing.T, host, backend string) {
	t.Helper()
	testkit.Must(t, env.Edge.Apply(t.Context(), fmt.Sprintf("{apiVersion: usher.techn.is/v1alpha1, kind: ExposedHost, metadata: {name: %[1]s}, spec: {host: %[1]s, backends: [{%[2]s}]}}", host, backend)))
	atEnd(t, env.Edge, "delete", "exposedhost", host, "--ignore-not-found")
	testkit.Eventually(t, host+" should be accepted", func() error {
		out, err := env.Edge.Kubectl(t.Context(), "get", "exposedhost", host, "-o", `jsonpath={.status.conditions[?(@.type=="Accepted")].status}`)
		if err == nil && out != "True" {
			err = fmt.Errorf("it is %q", out)
		}
		return err
	})
}

// PROXY headers that a real Traefik takes and usher does not send, and the other way, are
// found and cured.
func TestDoctorFindsProxyProtocol(t *testing.T) {
	const plain, proxied = "plain.proxy.techn.is", "proxied.proxy.techn.is"
	cluster, err := env.Bed.StartCluster(t.Context(), "doctor-proxied")
	testkit.Must(t, err)
	t.Cleanup(cluster.Stop)
	takes, err := cluster.StartTraefik(t.Context(), "--entryPoints.websecure.proxyProtocol.trustedIPs=127.0.0.0/8")
	testkit.Must(t, err)
	t.Cleanup(takes.Stop)
	byHand(t, proxied, fmt.Sprintf("address: %s, httpsPort: %d", takes.HTTPS.Addr(), takes.HTTPS.Port()))
	byHand(t, plain, fmt.Sprintf("address: %s, httpsPort: %d, proxyProtocol: V2", env.Hades.Traefik.HTTPS.Addr(), env.Hades.Traefik.HTTPS.Port()))

	for host, want := range map[string]string{proxied: "usher sends none", plain: "without one it does"} {
		f := finds(t, env.Usher, host, "ProxyProtocolMismatch")
		if !strings.Contains(f.Evidence, want) {
			t.Errorf("it is %s", f.Evidence)
		}
		runCure(t, env.Edge, &f)
		cured(t, env.Usher, host, "ProxyProtocolMismatch", "BackendUnreachable")
	}
}

// An address where nobody listens, and one of usher itself, are found and cured.
func TestDoctorFindsAddresses(t *testing.T) {
	const away, loop = "away.address.techn.is", "loop.address.techn.is"
	byHand(t, away, "address: 127.0.0.1, httpsPort: 1")
	byHand(t, loop, fmt.Sprintf("address: localhost, httpsPort: %d", env.HTTPS.Port()))
	good := []string{"ADDRESS", env.Hades.Traefik.HTTPS.Addr().String(), "PORT", fmt.Sprint(env.Hades.Traefik.HTTPS.Port())}
	for host, kind := range map[string]string{away: "BackendUnreachable", loop: "LoopToSelf"} {
		f := finds(t, env.Usher, host, kind)
		runCure(t, env.Edge, &f, good...)
		cured(t, env.Usher, host, "BackendUnreachable", "LoopToSelf")
	}
	if _, code := doctor(t, env.Usher, "nowhere.address.techn.is"); code != 2 {
		t.Errorf("the exit code is %d for a host that is not published", code)
	}
}

// A Traefik that redirects plain HTTP to https behind a CDN is found, and cured.
func TestDoctorFindsLoopsBehindACDN(t *testing.T) {
	const host = "flexible.cdn.techn.is"
	edge := newEdge(t, "edge-cdn", env.Hades)
	u, err := testenv.Run(t.Context(), env.Bed, "usher-cdn", program, edge, "--dns-target=203.0.113.7", "--dns-property=external-dns.alpha.kubernetes.io/cloudflare-proxied=true", "--drain-timeout=1s")
	testkit.Must(t, err)
	t.Cleanup(u.Kill)
	testkit.Must(t, env.Hades.Publish(t.Context(), "doctor-flexible", host, exposeIt, "usher.techn.is/plain-http: forward"))
	testkit.Must(t, env.Hades.Apply(t.Context(), "{apiVersion: traefik.io/v1alpha1, kind: Middleware, metadata: {name: doctor-to-https, namespace: default}, spec: {redirectRegex: {regex: '^http://([^/:]+)(.*)', replacement: 'https://${1}${2}', permanent: true}}}"))
	kubectl(t, env.Hades.Cluster, "patch", "ingressroute", "doctor-flexible", "--type=json", `--patch=[{"op": "add", "path": "/spec/routes/0/middlewares", "value": [{"name": "doctor-to-https"}]}]`)
	awaitCondition(t, edge, "exposedhost/"+host, "Ready", "True")
	f := finds(t, u, host, "FlexibleLoop")
	runCure(t, edge, &f)
	cured(t, u, host, "FlexibleLoop")
}

// A host that usher redirects itself behind a CDN is found by what the CDN sends, and cured. The
// same headers of anybody count for nothing where the DNS records do not lead to a CDN.
func TestDoctorFindsRedirectsOfACDN(t *testing.T) {
	const proxied, direct = "redirected.cdn.techn.is", "direct.cdn.techn.is"
	edge := newEdge(t, "edge-cdn-redirects", env.Hades)
	u, err := testenv.Run(t.Context(), env.Bed, "usher-cdn-redirects", program, edge, "--dns-target=203.0.113.7", "--dns-property=external-dns.alpha.kubernetes.io/cloudflare-proxied=true", "--drain-timeout=1s")
	testkit.Must(t, err)
	t.Cleanup(u.Kill)
	testkit.Must(t, env.Hades.Publish(t.Context(), "doctor-redirected", proxied, exposeIt))
	testkit.Must(t, env.Hades.Publish(t.Context(), "doctor-direct", direct, exposeIt, `usher.techn.is/dns-cloudflare-proxied: "false"`))
	for _, host := range []string{proxied, direct} {
		awaitCondition(t, edge, "exposedhost/"+host, "Ready", "True")
		cured(t, u, host, "FlexibleLoop") // not yet
		for range 3 {
			out, err := exec.CommandContext(t.Context(), "curl", "--silent", "--show-error", "--include", "--header", `CF-Visitor: {"scheme":"https"}`,
				"--resolve", fmt.Sprintf("%s:%d:%s", host, u.HTTP.Port(), u.HTTP.Addr()), fmt.Sprintf("http://%s:%d/", host, u.HTTP.Port())).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "308 Permanent Redirect") {
				t.Fatalf("plain HTTP is not redirected: %v\n%s", err, out)
			}
		}
	}
	f := finds(t, u, proxied, "FlexibleLoop")
	if !strings.Contains(f.Evidence, "usher has redirected 3 requests") {
		t.Errorf("the evidence is %s", f.Evidence)
	}
	cured(t, u, direct, "FlexibleLoop")
	runCure(t, edge, &f)
	cured(t, u, proxied, "FlexibleLoop")
}

// The periodic audits write the condition Healthy of hosts and clusters, and metrics.
func TestDoctorAuditsPeriodically(t *testing.T) {
	const host = "periodic.doctor.techn.is"
	testkit.Must(t, env.Hades.Publish(t.Context(), "doctor-periodic", host, exposeIt))
	answered(t, host, "hades")
	finds(t, env.Usher, host, "DefaultCertificate") // an audit on demand is a result like any other
	awaitCondition(t, env.Edge, "exposedhost/"+host, "Healthy", "False")
	awaitCondition(t, env.Edge, "membercluster/hades", "Healthy", "False")
	testkit.Eventually(t, "the findings should be counted", func() error {
		page, err := env.Get(t.Context(), "/metrics")
		if err == nil && (strings.Contains(page, `usher_doctor_findings{kind="DefaultCertificate"} 0`) || !strings.Contains(page, `usher_doctor_findings{kind="DefaultCertificate"} `)) {
			err = errors.New("they are not")
		}
		return err
	})
	kubectl(t, env.Hades.Cluster, "annotate", "ingressroute", "doctor-periodic", unexpose)
	unanswered(t, host)
}
