package enroll

import (
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source/traefik"
)

const (
	// readerName is the name of all objects in a member, including the namespace.
	readerName = "usher-reader"
	// kubeconfigKey is the key in the Secret of the edge cluster.
	kubeconfigKey = "kubeconfig"
)

// scheme has every kind that is written or read.
var scheme = func() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, corev1.AddToScheme, eventsv1.AddToScheme, rbacv1.AddToScheme, networkingv1.AddToScheme, traefik.AddToScheme, gatewayv1.Install, v1alpha1.AddToScheme,
	} {
		if err := add(s); err != nil {
			panic(err) // two types have the same name: a bug in the API package
		}
	}
	return s
}()

// readerManifests returns the objects in a member, in the order in which they are created. Service
// is the Service that usher reads; the zero value for none.
func readerManifests(id identity, service types.NamespacedName) []*unstructured.Unstructured {
	labels := id.memberLabels()
	no := false
	objects := []client.Object{
		&corev1.Namespace{ObjectMeta: named("", labels)},
		&corev1.ServiceAccount{ObjectMeta: named(readerName, labels), AutomountServiceAccountToken: &no},
		&rbacv1.ClusterRole{ObjectMeta: named("", labels), Rules: readerRules()},
		&rbacv1.ClusterRoleBinding{ObjectMeta: named("", labels), RoleRef: roleRef("ClusterRole"), Subjects: reader()},
	}
	if service.Name != "" {
		objects = append(objects,
			&rbacv1.Role{ObjectMeta: named(service.Namespace, labels), Rules: serviceRules(service.Name)},
			&rbacv1.RoleBinding{ObjectMeta: named(service.Namespace, labels), RoleRef: roleRef("Role"), Subjects: reader()},
		)
	}
	return manifests(objects...)
}

// readerRules allow the account to read the kinds that usher watches in every namespace, and to
// discover which of them the cluster serves. They also allow it to list the kinds that usher looks
// through for annotations without an effect. They allow it to read no Secrets and no workloads.
func readerRules() []rbacv1.PolicyRule {
	read := func(group string, resources ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: readVerbs()}
	}
	list := func(group string, resources ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: resources, Verbs: []string{"list"}}
	}
	unread := []string{"ingressrouteudps", "middlewares", "middlewaretcps", "traefikservices"} // of Traefik
	return []rbacv1.PolicyRule{
		read("networking.k8s.io", "ingresses", "ingressclasses"),
		read("traefik.io", "ingressroutes", "ingressroutetcps"),
		read("traefik.containo.us", "ingressroutes", "ingressroutetcps"),
		read("gateway.networking.k8s.io", "gateways", "httproutes", "grpcroutes", "tlsroutes", "listenersets"),
		read("gateway.networking.x-k8s.io", "xlistenersets"),
		read("", "namespaces"),
		list("", "services"),
		list("traefik.io", unread...),
		list("traefik.containo.us", unread...),
		list("gateway.networking.k8s.io", "tcproutes", "udproutes"),
		list("projectcontour.io", "httpproxies"),
		list("networking.istio.io", "virtualservices"),
		// Discovery and the schema of kinds, in case the cluster does not grant it to every account.
		{NonResourceURLs: []string{"/version", "/api/*", "/apis/*", "/openapi/v3/*"}, Verbs: []string{"get"}},
	}
}

// serviceRules allow the account to watch one Service.
func serviceRules(name string) []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"services"}, ResourceNames: []string{name}, Verbs: readVerbs()}}
}

func readVerbs() []string { return []string{"get", "list", "watch"} }

func roleRef(kind string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: readerName}
}

func reader() []rbacv1.Subject {
	return []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: readerName, Name: readerName}}
}

// tokenSecret returns a Secret that requests a token of the account from the member's control
// plane. The token is valid until the Secret is deleted.
func tokenSecret(id identity) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: readerName + "-token-",
			Namespace:    readerName,
			Labels:       id.memberLabels(),
			Annotations:  map[string]string{corev1.ServiceAccountNameKey: readerName},
		},
		Type: corev1.SecretTypeServiceAccountToken,
	}
}

// kubeconfigSecretName returns the name of a member's Secret in the edge cluster.
func kubeconfigSecretName(member string) string { return member + "-kubeconfig" }

// kubeconfigSecret returns the Secret in the edge cluster with a member's kubeconfig.
func kubeconfigSecret(id identity, namespace string, kubeconfig []byte) *unstructured.Unstructured {
	return manifest(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: kubeconfigSecretName(id.name), Namespace: namespace, Labels: id.edgeLabels()},
		Type:       corev1.SecretTypeOpaque,
		Data:       map[string][]byte{kubeconfigKey: kubeconfig},
	})
}

// memberCluster returns the MemberCluster with the spec, whose kubeconfig it sets.
func memberCluster(id identity, spec v1alpha1.MemberClusterSpec) *unstructured.Unstructured {
	spec.Kubeconfig = &v1alpha1.KubeconfigRef{SecretName: kubeconfigSecretName(id.name), Key: kubeconfigKey}
	return manifest(&v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: id.name, Labels: id.edgeLabels()}, Spec: spec})
}

func named(namespace string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: readerName, Namespace: namespace, Labels: labels}
}

func manifests(objects ...client.Object) []*unstructured.Unstructured {
	all := make([]*unstructured.Unstructured, len(objects))
	for i, o := range objects {
		all[i] = manifest(o)
	}
	return all
}

// manifest returns an object as in a manifest: with its kind, and without empty fields and status.
func manifest(o client.Object) *unstructured.Unstructured {
	u := complete(o)
	delete(u.Object, "status")
	prune(u.Object)
	return u
}

// complete returns an object with its kind and all fields but the managed ones.
func complete(o client.Object) *unstructured.Unstructured {
	gvk, err := apiutil.GVKForObject(o, scheme)
	if err != nil {
		panic(fmt.Sprintf("the scheme lacks a kind: %v", err))
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		panic(fmt.Sprintf("an API type cannot be converted to JSON: %v", err))
	}
	u := &unstructured.Unstructured{Object: fields}
	u.SetGroupVersionKind(gvk)
	u.SetManagedFields(nil)
	return u
}

// prune removes empty fields recursively.
func prune(fields map[string]any) {
	maps.DeleteFunc(fields, func(_ string, value any) bool {
		inner, isMap := value.(map[string]any)
		prune(inner)
		return value == nil || isMap && len(inner) == 0
	})
}
