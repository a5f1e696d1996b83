package enroll

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/controllers/kubeconfig"
	"github.com/jovalle/usher/controllers/member"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
)

const (
	namespace = "usher-system"
	// balancer is the address of Traefik's Service in hades; nothing listens there.
	balancer = "192.0.2.10"
)

// bed has the edge cluster and one member, which each test adds and removes.
var bed *testbed.Bed

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(testbed.Main(prepared{m}, &bed, testbed.Options{Clusters: []string{"edge", "hades"}}))
}

// prepared runs the tests against clusters in which usher's CRDs and Traefik's Service are installed.
type prepared struct{ m *testing.M }

func (p prepared) Run() int {
	ctx := context.Background()
	edge, hades := bed.Cluster("edge"), bed.Cluster("hades")
	for _, step := range []func() error{
		func() error { return edge.ApplyFiles(ctx, "../../config/crd/*.yaml") },
		func() error {
			return edge.Apply(ctx, "{apiVersion: v1, kind: Namespace, metadata: {name: usher-system}}")
		},
		func() error { return hades.InstallTraefikCRDs(ctx) },
		func() error { return hades.InstallOldTraefikCRDs(ctx) },
		func() error { return hades.InstallGatewayCRDs(ctx) },
		func() error { return startTraefikService(ctx, "kube-system", balancer) },
		func() error { return hades.StartControllers(testbed.TokenController, testbed.NamespaceController) },
	} {
		if err := step(); err != nil {
			fmt.Fprintln(os.Stderr, "preparing the clusters:", err)
			return 1
		}
	}
	return p.m.Run()
}

// startTraefikService creates Traefik's Service in hades, with a load-balancer address.
func startTraefikService(ctx context.Context, namespace, address string) error {
	hades := bed.Cluster("hades")
	err := hades.Apply(ctx, "apiVersion: v1\nkind: Service\nmetadata: {name: traefik, namespace: "+namespace+", labels: {app.kubernetes.io/name: traefik}}\n"+
		"spec: {type: LoadBalancer, ports: [{name: web, port: 80}, {name: websecure, port: 443}]}\n")
	if err != nil {
		return err
	}
	return balanceService(types.NamespacedName{Namespace: namespace, Name: "traefik"}, address)
}

// balanceService sets the load-balancer addresses of a Service in hades.
func balanceService(key types.NamespacedName, addresses ...string) error {
	var ingress []string
	for _, address := range addresses {
		ingress = append(ingress, `{"ip": "`+address+`"}`)
	}
	_, err := bed.Cluster("hades").Kubectl(context.Background(), "--namespace", key.Namespace, "patch", "service", key.Name, "--subresource=status", "--type=merge",
		"--patch", `{"status": {"loadBalancer": {"ingress": [`+strings.Join(ingress, ", ")+`]}}}`)
	return err
}

func balance(t *testing.T, key types.NamespacedName, addresses ...string) {
	t.Helper()
	testkit.Must(t, balanceService(key, addresses...))
}

// reach connects to both clusters by kubeconfig files, as a person does.
func reach(t *testing.T) (edge, hades *Cluster) {
	t.Helper()
	return connect(t, bed.Cluster("edge").KubeconfigFile()), connect(t, bed.Cluster("hades").KubeconfigFile())
}

func connect(t *testing.T, file string) *Cluster {
	t.Helper()
	c, err := Connect(kubeconfig.Source{File: file})
	testkit.Must(t, err)
	return c
}

// startUsher runs the control plane in this process until the test ends.
func startUsher(t *testing.T) {
	t.Helper()
	mgr, err := ctrl.NewManager(bed.Cluster("edge").Config(), ctrl.Options{
		Scheme:  controllers.Scheme(),
		Cache:   controllers.CacheOptions(namespace),
		Metrics: metricsserver.Options{BindAddress: "0"},
		Logger:  logr.Discard(),
	})
	testkit.Must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	testkit.Must(t, controllers.SetupControlPlane(ctx, mgr, namespace))
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the controllers ended with: %v", err)
		}
	})
}

// options returns the options of a person who gives only the name of the member.
func options(out io.Writer) Options {
	return Options{Name: "hades", Namespace: namespace, Timeout: testkit.Timeout, Out: out}
}

// add adds hades and returns the output. It is removed when the test ends.
func add(t *testing.T, edge, hades *Cluster, change ...func(*Options)) string {
	t.Helper()
	removeAfterwards(t, edge, hades)
	var out bytes.Buffer
	o := options(&out)
	for _, change := range change {
		change(&o)
	}
	if err := Add(t.Context(), edge, hades, o); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	return out.String()
}

// following makes usher follow Traefik's Service.
func following(o *Options) {
	o.Service = types.NamespacedName{Namespace: "kube-system", Name: "traefik"}
}

// removeAfterwards removes hades when the test ends.
func removeAfterwards(t *testing.T, edge, hades *Cluster) {
	t.Helper()
	t.Cleanup(func() {
		var out bytes.Buffer
		if err := Remove(context.Background(), edge, hades, options(&out)); err != nil && !isUnknown(err) {
			t.Errorf("removing hades: %v\n%s", err, &out)
		}
	})
}

// stored returns the client configuration in the Secret of the edge cluster.
func stored(t *testing.T, edge *Cluster) *rest.Config {
	t.Helper()
	config, err := member.ParseKubeconfig(storedBytes(t, edge), "", false)
	testkit.Must(t, err)
	config.REST.QPS = -1
	return config.REST
}

func storedBytes(t *testing.T, edge *Cluster) []byte {
	t.Helper()
	return storedSecret(t, edge).Data["kubeconfig"]
}

func storedSecret(t *testing.T, edge *Cluster) *corev1.Secret {
	t.Helper()
	var secret corev1.Secret
	testkit.Must(t, edge.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "hades-kubeconfig"}, &secret))
	return &secret
}

func memberOf(t *testing.T, edge *Cluster) *v1alpha1.MemberCluster {
	t.Helper()
	var mc v1alpha1.MemberCluster
	testkit.Must(t, edge.client.Get(t.Context(), client.ObjectKey{Name: "hades"}, &mc))
	return &mc
}

// made lists all objects in a cluster that have usher's label, as kubectl names them.
func made(t *testing.T, cluster string) []string {
	t.Helper()
	return list(t, cluster, "-l", "app.kubernetes.io/managed-by=usher", "-o", "name")
}

// snapshot lists all objects that usher may write in both clusters, with their versions.
func snapshot(t *testing.T) []string {
	t.Helper()
	columns := "-o=custom-columns=:kind,:metadata.namespace,:metadata.name,:metadata.resourceVersion"
	return append(list(t, "hades", columns), list(t, "edge", columns)...)
}

func list(t *testing.T, cluster string, args ...string) []string {
	t.Helper()
	kinds := "namespaces,serviceaccounts,secrets,clusterroles,clusterrolebindings,roles,rolebindings"
	if cluster == "edge" {
		kinds += ",memberclusters,exposedhosts"
	}
	out, err := bed.Cluster(cluster).Kubectl(t.Context(), append([]string{"get", kinds, "--all-namespaces"}, args...)...)
	testkit.Must(t, err)
	return strings.Fields(out)
}

// apply applies manifests in a cluster, and deletes their objects when the test ends.
func apply(t *testing.T, cluster, manifests string) {
	t.Helper()
	testkit.Must(t, bed.Cluster(cluster).Apply(t.Context(), manifests))
	file := writeFile(t, "manifests.yaml", manifests, 0o600)
	t.Cleanup(func() {
		if out, err := bed.Cluster(cluster).Kubectl(context.Background(), "delete", "--ignore-not-found", "-f", file); err != nil {
			t.Errorf("kubectl delete: %v\n%s", err, out)
		}
	})
}

func writeFile(t *testing.T, name, content string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	testkit.Must(t, os.WriteFile(file, []byte(content), mode))
	return file
}

func wantText(t *testing.T, got string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in:\n%s", want, got)
		}
	}
}

// kubeconfigOf returns a kubeconfig for hades with another user.
func kubeconfigOf(t *testing.T, user string) string {
	t.Helper()
	kubeconfig, err := bed.Cluster("hades").Kubeconfig()
	testkit.Must(t, err)
	config, err := clientcmd.Load(kubeconfig)
	testkit.Must(t, err)
	config.AuthInfos["hades"] = nil
	delete(config.AuthInfos, "hades")
	content, err := clientcmd.Write(*config)
	testkit.Must(t, err)
	return writeFile(t, "kubeconfig", string(content)+"users: [{name: hades, user: "+user+"}]\n", 0o600)
}
