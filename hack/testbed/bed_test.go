package testbed

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// bed is shared by the tests of this package. Each test uses its own objects.
var bed *Bed

func TestMain(m *testing.M) {
	os.Exit(Main(m, &bed, Options{Clusters: []string{"hades", "illmatic"}, Output: os.Stderr}))
}

func TestClustersAreIsolated(t *testing.T) {
	for _, name := range []string{"hades", "illmatic"} {
		apply(t, bed.Cluster(name), configMap("apart", name))
	}
	for _, name := range []string{"hades", "illmatic"} {
		if got := kubectl(t, bed.Cluster(name), "get", "configmap", "apart", "-o", "jsonpath={.data.value}"); got != name {
			t.Errorf("cluster %s has the object of %q", name, got)
		}
	}
}

func TestAClusterRefusesTheTokenOfAnother(t *testing.T) {
	config := bed.Cluster("hades").Config()
	config.BearerToken = bed.Cluster("illmatic").Config().BearerToken
	if _, err := clientset(t, config).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("hades answers a token of illmatic with %v, want Unauthorized", err)
	}
}

func TestServiceAccountHasOnlyItsGrantedPermissions(t *testing.T) {
	hades := bed.Cluster("hades")
	apply(t, hades, `
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: default}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: default}]
`)
	kubeconfig, err := hades.KubeconfigFor(t.Context(), metav1.NamespaceDefault, "reader")
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	reader := clientset(t, config).CoreV1()
	testkit.Eventually(t, "the authorizer should know the role", func() error {
		_, err := reader.ConfigMaps(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{})
		return err
	})
	if _, err := reader.Secrets(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("the ServiceAccount lists Secrets: %v, want Forbidden", err)
	}
}

func TestStoppedClusterKeepsItsAddressAndData(t *testing.T) {
	illmatic := bed.Cluster("illmatic")
	apply(t, illmatic, configMap("kept", "yes"))
	illmatic.Stop()
	if _, err := configMaps(t, illmatic, time.Second).Get(t.Context(), "kept", metav1.GetOptions{}); err == nil {
		t.Error("a stopped API server answers")
	}
	if err := illmatic.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := configMaps(t, illmatic, testkit.Timeout).Get(t.Context(), "kept", metav1.GetOptions{})
	if err != nil || got.Data["value"] != "yes" {
		t.Errorf("after the restart: %v, %v", got.Data, err)
	}
}

func TestPausedClusterDoesNotAnswerUntilResumed(t *testing.T) {
	illmatic := bed.Cluster("illmatic")
	if err := illmatic.Pause(); err != nil {
		t.Fatal(err)
	}
	_, err := configMaps(t, illmatic, time.Second).List(t.Context(), metav1.ListOptions{})
	if err == nil || !strings.Contains(err.Error(), "Timeout") && !strings.Contains(err.Error(), "deadline") {
		t.Errorf("a paused API server answers with %v, want a timeout", err)
	}
	if err := illmatic.Resume(); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the resumed API server should answer", func() error {
		_, err := configMaps(t, illmatic, testkit.Timeout).List(t.Context(), metav1.ListOptions{})
		return err
	})
}

func TestClusterCanBeAddedLater(t *testing.T) {
	edge, err := bed.StartCluster(t.Context(), "edge")
	if err != nil {
		t.Fatal(err)
	}
	if got := kubectl(t, edge, "get", "namespace", "default", "-o", "name"); strings.TrimSpace(got) != "namespace/default" {
		t.Errorf("kubectl printed %q", got)
	}
	if _, err := bed.StartCluster(t.Context(), "edge"); err == nil {
		t.Error("a second cluster of the same name was started")
	}
}

func TestStartWithoutServersNamesTheCommand(t *testing.T) {
	t.Setenv("USHER_TESTBED_CACHE", t.TempDir())
	t.Setenv("TMPDIR", t.TempDir())
	_, err := Start(t.Context(), Options{})
	if !errors.Is(err, servers.ErrNotBuilt) || !strings.Contains(err.Error(), "go run ./hack/testbed/cmd/testbed build etcd") {
		t.Errorf("Start: %v", err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestStopRemovesDataAndKeepsLogsOnRequest(t *testing.T) {
	for name, keep := range map[string]bool{"success": false, "failure": true} {
		t.Run(name, func(t *testing.T) {
			b, err := Start(t.Context(), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if keep {
				b.KeepLogs()
				t.Cleanup(func() { _ = os.RemoveAll(b.dir) })
			}
			if err := b.Stop(); err != nil {
				t.Fatal(err)
			}
			_, dataErr := os.Stat(b.dataDir())
			_, logErr := os.Stat(b.LogDir())
			if !os.IsNotExist(dataErr) || os.IsNotExist(logErr) == keep {
				t.Errorf("data: %v, logs: %v", dataErr, logErr)
			}
		})
	}
}

func apply(t *testing.T, c *Cluster, manifests string) {
	t.Helper()
	if err := c.Apply(t.Context(), manifests); err != nil {
		t.Fatal(err)
	}
}

func kubectl(t *testing.T, c *Cluster, args ...string) string {
	t.Helper()
	out, err := c.Kubectl(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func clientset(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// configMaps returns a client with a timeout.
func configMaps(t *testing.T, c *Cluster, timeout time.Duration) typedcorev1.ConfigMapInterface {
	t.Helper()
	config := c.Config()
	config.Timeout = timeout
	return clientset(t, config).CoreV1().ConfigMaps(metav1.NamespaceDefault)
}

func configMap(name, value string) string {
	return "{apiVersion: v1, kind: ConfigMap, metadata: {name: " + name + ", namespace: default}, data: {value: " + `"` + value + `"}}`
}
