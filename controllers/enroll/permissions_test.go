package enroll

import (
	"slices"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"github.com/jovalle/usher/hack/test/testkit"
)

func TestStoredTokenOnlyReadsWhatUsherWatches(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	add(t, edge, hades)
	reader, err := kubernetes.NewForConfig(stored(t, edge))
	testkit.Must(t, err)
	var granted []string
	for _, resource := range resourcesOf(t, hades) {
		for _, verb := range []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "bind", "escalate", "impersonate"} {
			if may(t, reader, authorizationv1.ResourceAttributes{Verb: verb, Group: resource.Group, Resource: resource.Resource}) {
				granted = append(granted, verb+" "+resource.String())
			}
		}
	}
	slices.Sort(granted)
	if want := grantedEverywhere(); !slices.Equal(granted, want) {
		t.Errorf("granted in all namespaces:\n%q\nwant:\n%q", granted, want)
	}
}

// grantedEverywhere returns what the account may do in all namespaces, sorted. The objects that it
// may create are not stored: Kubernetes allows every account to review its own permissions.
func grantedEverywhere() []string {
	grants := []string{
		"create selfsubjectreviews.authentication.k8s.io",
		"create selfsubjectaccessreviews.authorization.k8s.io",
		"create selfsubjectrulesreviews.authorization.k8s.io",
	}
	for _, resource := range []string{
		"clustertrustbundles.certificates.k8s.io", // by system:cluster-trust-bundle-discovery, to every ServiceAccount
		"namespaces",
		"ingresses.networking.k8s.io", "ingressclasses.networking.k8s.io",
		"ingressroutes.traefik.io", "ingressroutetcps.traefik.io",
		"ingressroutes.traefik.containo.us", "ingressroutetcps.traefik.containo.us",
		"gateways.gateway.networking.k8s.io", "listenersets.gateway.networking.k8s.io",
		"httproutes.gateway.networking.k8s.io", "grpcroutes.gateway.networking.k8s.io", "tlsroutes.gateway.networking.k8s.io",
	} {
		for _, verb := range readVerbs() {
			grants = append(grants, verb+" "+resource)
		}
	}
	for _, resource := range []string{
		"services",
		"middlewares.traefik.io", "middlewaretcps.traefik.io", "traefikservices.traefik.io", "ingressrouteudps.traefik.io",
		"middlewares.traefik.containo.us", "middlewaretcps.traefik.containo.us", "traefikservices.traefik.containo.us", "ingressrouteudps.traefik.containo.us",
		"tcproutes.gateway.networking.k8s.io", "udproutes.gateway.networking.k8s.io",
	} {
		grants = append(grants, "list "+resource)
	}
	slices.Sort(grants)
	return grants
}

// resourcesOf lists all resources and subresources that a cluster serves, without duplicates.
func resourcesOf(t *testing.T, c *Cluster) []schema.GroupResource {
	t.Helper()
	clientset, err := kubernetes.NewForConfig(c.config)
	testkit.Must(t, err)
	_, lists, err := clientset.Discovery().ServerGroupsAndResources()
	testkit.Must(t, err)
	var all []schema.GroupResource
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		testkit.Must(t, err)
		for _, resource := range list.APIResources {
			if gr := (schema.GroupResource{Group: gv.Group, Resource: resource.Name}); !slices.Contains(all, gr) {
				all = append(all, gr)
			}
		}
	}
	if len(all) < 100 {
		t.Fatalf("the cluster serves %d resources", len(all))
	}
	return all
}

// may reviews a permission with the account's own token.
func may(t *testing.T, reader *kubernetes.Clientset, attributes authorizationv1.ResourceAttributes) bool {
	t.Helper()
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &attributes}}
	answer, err := reader.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), review, metav1.CreateOptions{})
	testkit.Must(t, err)
	return answer.Status.Allowed
}

func TestStoredTokenFollowsOneServiceAndReadsNoSecret(t *testing.T) {
	startUsher(t)
	edge, hades := reach(t)
	add(t, edge, hades, following)
	apply(t, "hades", "{apiVersion: v1, kind: Service, metadata: {name: other, namespace: kube-system}, spec: {ports: [{port: 80}]}}")
	clientset, err := kubernetes.NewForConfig(stored(t, edge))
	testkit.Must(t, err)
	reader := clientset.CoreV1()
	only := func(name string) metav1.ListOptions {
		return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()}
	}
	for _, test := range []struct {
		name    string
		allowed bool
		ask     func() error
	}{
		{"list Traefik's Service", true, func() error { _, err := reader.Services("kube-system").List(t.Context(), only("traefik")); return err }},
		{"list another Service", true, func() error { _, err := reader.Services("kube-system").List(t.Context(), only("other")); return err }},
		{"get another Service", false, func() error {
			_, err := reader.Services("kube-system").Get(t.Context(), "other", metav1.GetOptions{})
			return err
		}},
		{"list all Services of the namespace", true, func() error {
			_, err := reader.Services("kube-system").List(t.Context(), metav1.ListOptions{})
			return err
		}},
		{"watch another Service", false, func() error {
			_, err := reader.Services("kube-system").Watch(t.Context(), only("other"))
			return err
		}},
		{"list Deployments", false, func() error {
			_, err := clientset.AppsV1().Deployments("").List(t.Context(), metav1.ListOptions{})
			return err
		}},
		{"list its own token's Secret", false, func() error { _, err := reader.Secrets(readerName).List(t.Context(), metav1.ListOptions{}); return err }},
		{"get Traefik's Secrets", false, func() error {
			_, err := reader.Secrets("kube-system").Get(t.Context(), "traefik", metav1.GetOptions{})
			return err
		}},
		{"list pods", false, func() error { _, err := reader.Pods("").List(t.Context(), metav1.ListOptions{}); return err }},
		{"create a ConfigMap", false, func() error {
			_, err := reader.ConfigMaps(readerName).Create(t.Context(), &corev1.ConfigMap{}, metav1.CreateOptions{})
			return err
		}},
		{"discover", true, func() error {
			_, err := clientset.Discovery().ServerResourcesForGroupVersion("traefik.io/v1alpha1")
			return err
		}},
		{"read the schema of Traefik's kinds", true, func() error {
			_, err := clientset.Discovery().RESTClient().Get().AbsPath("/openapi/v3/apis/traefik.io/v1alpha1").DoRaw(t.Context())
			return err
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := test.ask(); (err == nil) != test.allowed || err != nil && !apierrors.IsForbidden(err) {
				t.Errorf("allowed should be %v: %v", test.allowed, err)
			}
		})
	}
}
