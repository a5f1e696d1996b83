package enroll

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
)

func isUnknown(err error) bool { return errors.Is(err, ErrUnknown) }

func TestAddMakesAMemberThatUsherReads(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	out := add(t, edge, hades)
	wantText(t, out,
		"Traefik's address is "+balancer+", from the load balancer of Service kube-system/traefik",
		"pinned as spec.ingress.addresses", "--service kube-system/traefik follows the Service instead",
		"ServiceAccount usher-reader/usher-reader created in context hades",
		"Secret usher-system/hades-kubeconfig created in context edge",
		"MemberCluster hades created in context edge",
		"warning: the member's API server is https://127.0.0.1:", "--server",
		"hades is ready: Kubernetes v1.",
		"next: kubectl --context hades annotate ingressroute NAME usher.techn.is/expose=true",
	)
	spec, status := memberOf(t, edge).Spec, memberOf(t, edge).Status
	if !slices.Equal(spec.Ingress.Addresses, []string{balancer}) || spec.Ingress.Service.Name != "traefik" {
		t.Errorf("spec %+v", spec)
	}
	if !meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady) || !slices.Equal(status.Ingress.Addresses, []string{balancer}) {
		t.Errorf("status %+v", status)
	}
}

func TestAddAgainRotatesTheTokenWithoutInterruption(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	add(t, edge, hades)
	publish(t, edge)
	old := stored(t, edge)
	interrupted := watchForInterruption(t, edge)
	out := add(t, edge, hades)
	wantInUse(t, edge)
	if why := interrupted(); why != "" {
		t.Error(why)
	}
	if stored(t, edge).BearerToken == old.BearerToken {
		t.Error("the token was not replaced")
	}
	wantText(t, out, "ClusterRole usher-reader unchanged", "the old token is revoked")
	testkit.Must(t, listIngresses(stored(t, edge)))
	testkit.Eventually(t, "the old token to be refused", func() error {
		if err := listIngresses(old); !apierrors.IsUnauthorized(err) {
			return fmt.Errorf("a request with the old token: %w", err)
		}
		return nil
	})
	if secrets := slices.DeleteFunc(made(t, "hades"), func(o string) bool { return !strings.HasPrefix(o, "secret/") }); len(secrets) != 1 {
		t.Errorf("the member has %v", secrets)
	}
}

// wantInUse checks that usher has read hades with the kubeconfig in its Secret.
func wantInUse(t *testing.T, edge *Cluster) {
	t.Helper()
	secret := storedSecret(t, edge)
	want := v1alpha1.ObservedKubeconfig{SecretUID: secret.UID, ResourceVersion: secret.ResourceVersion}
	if got := memberOf(t, edge).Status.Kubeconfig; got == nil || *got != want {
		t.Errorf("the kubeconfig in use is %+v, and the Secret %+v", got, want)
	}
}

// A Secret may have other writers, such as a GitOps controller. A writer that does not change the
// kubeconfig causes no delay. One that restores the old kubeconfig prevents that its token is
// revoked.
func TestAddAgainWhileAnotherWritesTheSecret(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	add(t, edge, hades)
	stop := onChange(t, edge, storedBytes(t, edge), func(secret *corev1.Secret) { secret.Labels["synced-by"] = "gitops" })
	add(t, edge, hades)
	stop()
	wantInUse(t, edge)
	if storedSecret(t, edge).Labels["synced-by"] != "gitops" {
		t.Error("the other writer was too late for this test")
	}

	old, config := storedBytes(t, edge), stored(t, edge)
	stop = onChange(t, edge, old, func(secret *corev1.Secret) { secret.Data["kubeconfig"] = old })
	var out bytes.Buffer
	err := Add(t.Context(), edge, hades, options(&out))
	stop()
	if !errors.Is(err, errReplaced) {
		t.Fatalf("%v\n%s", err, &out)
	}
	wantText(t, err.Error(), "the kubeconfig in Secret usher-system/hades-kubeconfig was overwritten", "the created objects stay")
	testkit.Must(t, listIngresses(config))
}

// onChange changes the Secret as another writer as soon as its kubeconfig is not the old one. The
// returned function waits for that.
func onChange(t *testing.T, edge *Cluster, old []byte, change func(*corev1.Secret)) (done func()) {
	t.Helper()
	ended := make(chan error, 1)
	go func() {
		ended <- wait.PollUntilContextTimeout(t.Context(), time.Millisecond, testkit.Timeout, true, func(ctx context.Context) (bool, error) {
			var secret corev1.Secret
			if err := edge.get(ctx, "hades-kubeconfig", namespace, &secret); err != nil || bytes.Equal(secret.Data["kubeconfig"], old) {
				return false, err
			}
			change(&secret)
			return true, edge.client.Update(ctx, &secret)
		})
	}()
	return func() { testkit.Must(t, <-ended) }
}

// publish exposes a host of hades, and waits until usher publishes it.
func publish(t *testing.T, edge *Cluster) {
	t.Helper()
	apply(t, "hades", `{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: whoami, namespace: default, annotations: {usher.techn.is/expose: "true"}},
		spec: {rules: [{host: whoami.techn.is, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: app, port: {number: 80}}}}]}}]}}`)
	testkit.Eventually(t, "the host to be published", func() error {
		var eh v1alpha1.ExposedHost
		if err := edge.client.Get(t.Context(), client.ObjectKey{Name: "whoami.techn.is"}, &eh); err != nil {
			return err
		}
		if !meta.IsStatusConditionTrue(eh.Status.Conditions, v1alpha1.ConditionReady) {
			return fmt.Errorf("its conditions are %+v", eh.Status.Conditions)
		}
		return nil
	})
}

// watchForInterruption polls whether hades and its host stay ready. The returned function ends
// that, and returns what was not ready, if anything was.
func watchForInterruption(t *testing.T, edge *Cluster) func() string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan string, 1)
	go func() {
		defer close(seen)
		for ctx.Err() == nil {
			if why := interruption(ctx, edge); why != "" && ctx.Err() == nil {
				seen <- why
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return func() string {
		cancel()
		return <-seen
	}
}

func interruption(ctx context.Context, edge *Cluster) string {
	var mc v1alpha1.MemberCluster
	var eh v1alpha1.ExposedHost
	if err := errors.Join(edge.client.Get(ctx, client.ObjectKey{Name: "hades"}, &mc), edge.client.Get(ctx, client.ObjectKey{Name: "whoami.techn.is"}, &eh)); err != nil {
		return err.Error()
	}
	for _, conditions := range [][]metav1.Condition{mc.Status.Conditions, eh.Status.Conditions} {
		if !meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady) {
			return fmt.Sprintf("meanwhile: %+v", conditions)
		}
	}
	return ""
}

// listIngresses lists the Ingresses of a member over a new connection.
func listIngresses(config *rest.Config) error {
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	_, err = clientset.NetworkingV1().Ingresses(metav1.NamespaceAll).List(context.Background(), metav1.ListOptions{})
	return err
}

func TestAddAgainKeepsFieldsThatAPersonSet(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	add(t, edge, hades, following)
	changed := memberOf(t, edge)
	changed.Spec.AllowedDomains = []string{"techn.is"}
	changed.Spec.Ingress.Addresses = []string{"192.0.2.77"}
	testkit.Must(t, edge.client.Update(t.Context(), changed))
	add(t, edge, hades)
	spec := memberOf(t, edge).Spec
	if !slices.Equal(spec.AllowedDomains, []string{"techn.is"}) || !slices.Equal(spec.Ingress.Addresses, []string{"192.0.2.77"}) {
		t.Errorf("spec %+v", spec)
	}
	roles := func() []string {
		return slices.DeleteFunc(made(t, "hades"), func(o string) bool { return !strings.HasPrefix(o, "role") })
	}
	if len(roles()) == 0 {
		t.Error("the account may not read Traefik's Service, whose labels tell the version")
	}
	changed = memberOf(t, edge)
	changed.Spec.Ingress.Service.Name = "nonesuch"
	testkit.Must(t, edge.client.Update(t.Context(), changed))
	add(t, edge, hades)
	if roles := roles(); len(roles) > 0 {
		t.Errorf("the account may still read a Service that is not Traefik's: %v", roles)
	}
}

// A Service that a person names is followed, also after a second call without the name.
func TestAddFollowsTheNamedService(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	wantText(t, add(t, edge, hades, following), "usher follows that Service", "--address pins one")
	add(t, edge, hades)
	if spec := memberOf(t, edge).Spec; len(spec.Ingress.Addresses) > 0 || spec.Ingress.Service.Name != "traefik" {
		t.Errorf("spec %+v", spec)
	}
}

// An address of a member's Service is not pinned if usher would refuse it from the member, since a
// pinned address counts as one that a person gave.
func TestAddPinsNoAddressThatIsNotTheMembersOwn(t *testing.T) {
	edge, hades := reach(t)
	testkit.Must(t, edge.client.Create(t.Context(), &v1alpha1.MemberCluster{
		ObjectMeta: metav1.ObjectMeta{Name: "illmatic"},
		Spec:       v1alpha1.MemberClusterSpec{Ingress: v1alpha1.IngressEndpoint{Addresses: []string{"192.0.2.20"}}},
	}))
	t.Cleanup(func() {
		_ = edge.client.Delete(context.Background(), &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: "illmatic"}})
		testkit.Must(t, startTraefikService(context.Background(), "kube-system", balancer))
	})
	for address, says := range map[string]string{
		"127.0.0.1":       "loopback",
		"169.254.169.254": "link-local",
		"192.0.2.20":      "the address of MemberCluster illmatic",
	} {
		testkit.Must(t, startTraefikService(t.Context(), "kube-system", address))
		before := snapshot(t)
		err := Add(t.Context(), edge, hades, options(nil))
		if !errors.Is(err, ErrNoIngress) {
			t.Fatalf("%s: %v", address, err)
		}
		wantText(t, err.Error(), address, says, "--address")
		if after := snapshot(t); strings.Join(before, " ") != strings.Join(after, " ") {
			t.Errorf("something was written: %v, then %v", before, after)
		}
	}
}

func TestAddReportsThatUsherDoesNotRun(t *testing.T) {
	edge, hades := reach(t)
	removeAfterwards(t, edge, hades)
	var out bytes.Buffer
	o := options(&out)
	o.Timeout = 3 * time.Second
	err := Add(t.Context(), edge, hades, o)
	if !errors.Is(err, errNotReady) {
		t.Fatalf("%v\n%s", err, &out)
	}
	wantText(t, err.Error(), "usher does not seem to run at the edge", "kubectl --context edge --namespace usher-system get pods", "usher cluster remove hades")
	wantText(t, out.String(), "usher has not noticed it yet")
}

func TestAddReportsWhyUsherCannotReachTheMember(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	removeAfterwards(t, edge, hades)
	o := options(new(bytes.Buffer))
	o.Timeout, o.Server = 6*time.Second, "https://127.0.0.1:1"
	err := Add(t.Context(), edge, hades, o)
	if !errors.Is(err, errNotReady) {
		t.Fatal(err)
	}
	wantText(t, err.Error(), "Unreachable", "127.0.0.1:1", "--server")
}

func TestAddReportsTheMissingPermission(t *testing.T) {
	edge, _ := reach(t)
	apply(t, "hades", "{apiVersion: v1, kind: ServiceAccount, metadata: {name: guest, namespace: default}}")
	kubeconfig, err := bed.Cluster("hades").KubeconfigFor(t.Context(), "default", "guest")
	testkit.Must(t, err)
	guest := connect(t, writeFile(t, "kubeconfig", string(kubeconfig), 0o600))
	err = Add(t.Context(), edge, guest, options(nil))
	if !apierrors.IsForbidden(err) {
		t.Fatal(err)
	}
	wantText(t, err.Error(), "context hades", `"system:serviceaccount:default:guest" cannot get resource "namespaces"`)
	if left := append(made(t, "hades"), made(t, "edge")...); len(left) > 0 {
		t.Errorf("created although it failed: %v", left)
	}
}

func TestAddWithAnExecPluginStoresNoPlugin(t *testing.T) {
	startUsher(t)
	edge, _ := reach(t)
	credential := fmt.Sprintf(`{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": %q}}`, bed.Cluster("hades").Config().BearerToken)
	plugin := writeFile(t, "plugin", "#!/bin/sh\necho '"+credential+"'\n", 0o700)
	hades := connect(t, kubeconfigOf(t, "{exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: "+plugin+"}}"))
	add(t, edge, hades)
	if kept := string(storedBytes(t, edge)); strings.Contains(kept, "exec") || strings.Contains(kept, bed.Cluster("hades").Config().BearerToken) {
		t.Errorf("stored: %s", kept)
	}
	testkit.Must(t, listIngresses(stored(t, edge)))
}
