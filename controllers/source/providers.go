package source

import (
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/controllers/message"
)

// TraefikController is the controller of Traefik's IngressClasses.
const TraefikController = "traefik.io/ingress-controller"

// defaultClass is the class that a provider without an ingress class serves besides
// objects without one.
const defaultClass = "traefik"

// unservedIngress returns why the member's Traefik does not serve an Ingress because of
// its class; "" if it does, or if its providers are not known. As in Traefik, an Ingress
// without a class does not belong to the cluster's default class: the API server has set
// that one in spec.ingressClassName of each Ingress that was created after it.
func (in Context) unservedIngress(ingress *networkingv1.Ingress) string {
	if in.Providers == nil {
		return ""
	}
	const field = "kubernetesIngress"
	provider := in.Providers.KubernetesIngress
	name := ingress.Spec.IngressClassName
	switch {
	case provider == nil:
		return unread("Ingresses", field)
	case name == nil:
		return unserved(provider.IngressClass, ingress.Annotations[classAnnotation], field)
	case in.TraefikClass == nil || !in.TraefikClass(*name):
		return fmt.Sprintf("there is no IngressClass %s with controller %s, so Traefik does not serve the Ingress; create it, or change spec.ingressClassName", message.Quote(*name), TraefikController)
	case provider.IngressClass != "":
		return unserved(provider.IngressClass, *name, field)
	}
	return ""
}

// unservedRoute returns why the member's Traefik does not serve an IngressRoute or an
// IngressRouteTCP because of its class; "" if it does, or if its providers are not known.
func (in Context) unservedRoute(route metav1.Object, class *string) string {
	if in.Providers == nil {
		return ""
	}
	const field = "kubernetesCRD"
	provider := in.Providers.KubernetesCRD
	if provider == nil {
		return unread("IngressRoutes", field)
	}
	return unserved(provider.IngressClass, classOf(route, class), field)
}

// unserved returns why a provider does not serve objects of a class; "" if it does.
func unserved(served, class, field string) string {
	if class == served || served == "" && class == defaultClass {
		return ""
	}
	has, serves := "none is set", "only objects without a class and those of class "+defaultClass
	if class != "" {
		has = message.Quote(class) + " is set"
	}
	if served != "" {
		serves = "only objects of class " + message.Quote(served)
	}
	return fmt.Sprintf("%s, and the cluster's Traefik serves %s; change the class, or correct the MemberCluster's spec.ingress.providers.%s", has, serves, field)
}

func unread(kinds, field string) string {
	return fmt.Sprintf("the cluster's Traefik does not read %s; use another kind, or correct the MemberCluster's spec.ingress.providers, which has no %s", kinds, field)
}
