package controllers_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed"
	"github.com/jovalle/usher/proxy/routing"
)

const namespace = "usher-system"

// bed has the edge and two members; each test uses hosts and namespaces of its own.
var bed *testbed.Bed

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(testbed.Main(m, &bed, testbed.Options{Clusters: []string{"edge", "hades", "illmatic"}}))
}

// edge prepares the edge cluster and both members once, and returns a client of the edge.
func edge(t *testing.T) client.Client {
	t.Helper()
	ctx := t.Context()
	testkit.Must(t, bed.Cluster("edge").ApplyFiles(ctx, "../config/crd/*.yaml"))
	testkit.Must(t, bed.Cluster("edge").Apply(ctx, "{apiVersion: v1, kind: Namespace, metadata: {name: usher-system}}"))
	for _, name := range []string{"hades", "illmatic"} {
		testkit.Must(t, bed.Cluster(name).InstallTraefikCRDs(ctx))
	}
	c := clientOf(t, "edge")
	testkit.Must(t, c.DeleteAllOf(ctx, &v1alpha1.ExposedHost{})) // what a test before left when its usher ended
	return c
}

func clientOf(t *testing.T, cluster string) client.Client {
	t.Helper()
	c, err := client.New(bed.Cluster(cluster).Config(), client.Options{Scheme: controllers.Scheme()})
	testkit.Must(t, err)
	return c
}

// startUsher runs both halves' reconcilers in this process until the test ends, and returns the table.
func startUsher(t *testing.T) *routing.Live {
	t.Helper()
	table := &routing.Live{}
	stop := startControllers(t, table)
	t.Cleanup(stop)
	return table
}

// startControllers runs the reconcilers until stop is called.
func startControllers(t *testing.T, table *routing.Live, opts ...controllers.Option) (stop func()) {
	t.Helper()
	return runControllers(t, &controllers.RouteReconciler{Table: table}, testr.NewWithInterface(testkit.NewLogOf(t), testr.Options{}), opts...)
}

// runControllers is startControllers with a reconciler of routes, but for its client, and a log.
func runControllers(t *testing.T, routes *controllers.RouteReconciler, log logr.Logger, opts ...controllers.Option) (stop func()) {
	t.Helper()
	config := bed.Cluster("edge").Config()
	config.QPS = -1
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:  controllers.Scheme(),
		Cache:   controllers.CacheOptions(namespace),
		Metrics: metricsserver.Options{BindAddress: "0"},
		Logger:  log,
	})
	testkit.Must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	testkit.Must(t, controllers.SetupControlPlane(ctx, mgr, namespace, opts...))
	routes.Client = mgr.GetClient()
	testkit.Must(t, controllers.SetupDataPlane(mgr, routes))
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the controllers ended with: %v", err)
		}
	})
}

// addMember makes a member's Secret and MemberCluster, and deletes them with the test.
func addMember(t *testing.T, c client.Client, name string, change func(*v1alpha1.MemberCluster)) {
	t.Helper()
	kubeconfig, err := bed.Cluster(name).Kubeconfig()
	testkit.Must(t, err)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name + "-kubeconfig"}, Data: map[string][]byte{"kubeconfig": kubeconfig}}
	create(t, c, secret)
	mc := &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.MemberClusterSpec{
		Kubeconfig: &v1alpha1.KubeconfigRef{SecretName: secret.Name},
		Ingress:    v1alpha1.IngressEndpoint{Addresses: []string{addressOf[name]}},
	}}
	if change != nil {
		change(mc)
	}
	create(t, c, mc)
}

// addressOf are the ingress addresses that tests give the members; nothing listens there.
var addressOf = map[string]string{"hades": "192.0.2.10", "illmatic": "192.0.2.20", "bare": "192.0.2.30"}

// create makes an object, and deletes it with the test.
func create(t *testing.T, c client.Client, o client.Object) {
	t.Helper()
	testkit.Must(t, c.Create(t.Context(), o))
	t.Cleanup(func() { _ = c.Delete(context.Background(), o) })
}

// apply applies manifests in a member, and deletes them with the test.
func apply(t *testing.T, cluster, manifests string) {
	t.Helper()
	testkit.Must(t, bed.Cluster(cluster).Apply(t.Context(), manifests))
	t.Cleanup(func() { remove(t, cluster, manifests) })
}

// remove deletes what manifests name; what is gone already is no failure.
func remove(t *testing.T, cluster, manifests string) {
	t.Helper()
	if err := bed.Cluster(cluster).Delete(context.Background(), manifests); err != nil {
		t.Error(err)
	}
}

// ingressRoute is an IngressRoute with annotations written as "key: value" lines.
func ingressRoute(name, rule string, annotations ...string) string {
	return fmt.Sprintf("apiVersion: traefik.io/v1alpha1\nkind: IngressRoute\nmetadata:\n  name: %s\n  namespace: default\n  annotations: {%s}\nspec:\n  entryPoints: [websecure]\n  routes:\n  - match: %s\n    kind: Rule\n    services: [{name: app, port: 80}]\n",
		name, strings.Join(annotations, ", "), rule)
}

// exposed asks for publication.
const exposed = `usher.techn.is/expose: "true"`

// awaitHost waits until an ExposedHost satisfies check, and returns it.
func awaitHost(t *testing.T, c client.Client, name string, check func(*v1alpha1.ExposedHost) error) *v1alpha1.ExposedHost {
	t.Helper()
	var eh v1alpha1.ExposedHost
	testkit.Eventually(t, "ExposedHost "+name, func() error {
		eh = v1alpha1.ExposedHost{}
		if err := c.Get(t.Context(), client.ObjectKey{Name: name}, &eh); err != nil {
			return err
		}
		return check(&eh)
	})
	return &eh
}

// awaitGone waits until there is no such ExposedHost.
func awaitGone(t *testing.T, c client.Client, name string) {
	t.Helper()
	testkit.Eventually(t, "ExposedHost "+name+" should go", func() error {
		err := c.Get(t.Context(), client.ObjectKey{Name: name}, &v1alpha1.ExposedHost{})
		if client.IgnoreNotFound(err) == nil && err != nil {
			return nil
		}
		return fmt.Errorf("still there (%w)", err)
	})
}

// ready checks that a host is ready on a cluster.
func ready(cluster string) func(*v1alpha1.ExposedHost) error {
	return func(eh *v1alpha1.ExposedHost) error {
		if !meta.IsStatusConditionTrue(eh.Status.Conditions, v1alpha1.ConditionReady) || eh.Status.Summary.Cluster != cluster {
			return fmt.Errorf("not ready on %s: %+v", cluster, eh.Status)
		}
		return nil
	}
}

// refused checks that a host is refused for a reason.
func refused(reason string) func(*v1alpha1.ExposedHost) error {
	return func(eh *v1alpha1.ExposedHost) error {
		c := meta.FindStatusCondition(eh.Status.Conditions, v1alpha1.ConditionAccepted)
		if c == nil || c.Status != metav1.ConditionFalse || c.Reason != reason {
			return fmt.Errorf("not refused with %s: %+v", reason, eh.Status.Conditions)
		}
		return nil
	}
}

// awaitMember waits until a MemberCluster's condition has a status and a reason.
func awaitMember(t *testing.T, c client.Client, name, kind string, status metav1.ConditionStatus, reason string) *v1alpha1.MemberCluster {
	t.Helper()
	var mc v1alpha1.MemberCluster
	testkit.Eventually(t, fmt.Sprintf("MemberCluster %s should be %s=%s (%s)", name, kind, status, reason), func() error {
		mc = v1alpha1.MemberCluster{}
		if err := c.Get(t.Context(), client.ObjectKey{Name: name}, &mc); err != nil {
			return err
		}
		if is := meta.FindStatusCondition(mc.Status.Conditions, kind); is == nil || is.Status != status || is.Reason != reason {
			return fmt.Errorf("is %+v", is)
		}
		return nil
	})
	return &mc
}

// routed waits until the table sends a host to a cluster; "" means nowhere, refused
// or not known.
func routed(t *testing.T, table *routing.Live, host, cluster string) {
	t.Helper()
	testkit.Eventually(t, host+" should be routed to "+cluster, func() error {
		route := table.Load().Lookup(host)
		switch served := route != nil && route.Refusal == ""; {
		case !served && cluster == "":
			return nil
		case !served || cluster == "" || route.Backends[0].Cluster != cluster:
			return fmt.Errorf("is %+v", route)
		}
		return nil
	})
}

// refusedRoute waits until the table refuses a host, and says why; "" means that it
// is not known.
func refusedRoute(t *testing.T, table *routing.Live, host, why string) {
	t.Helper()
	testkit.Eventually(t, host+" should be refused with "+why, func() error {
		switch route := table.Load().Lookup(host); {
		case route == nil && why == "":
			return nil
		case route == nil || why == "" || route.Refusal != why:
			return fmt.Errorf("is %+v", route)
		}
		return nil
	})
}

// selfSigned returns a certificate that signs itself, and its key, as PEM.
func selfSigned(t *testing.T, template *x509.Certificate) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	testkit.Must(t, err)
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	testkit.Must(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	testkit.Must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}
