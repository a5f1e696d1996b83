package member

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/gatewayapi"
)

// trim removes the fields of an object that usher does not read, before the object is
// cached. Without the annotation an Ingress or a route of the Gateway API keeps its
// name and its hosts only. An IngressRoute keeps its rules, since another one may refer
// to it as its parent.
func trim(o any) any {
	object, ok := o.(client.Object)
	if !ok {
		return o // a tombstone: its object was trimmed before
	}
	trimMeta(object)
	exposed := source.Exposed(object.GetAnnotations())
	switch t := object.(type) {
	case *networkingv1.Ingress:
		t.Status = networkingv1.IngressStatus{}
		t.Spec = trimIngress(t.Spec, exposed)
	case *gatewayv1.HTTPRoute:
		t.Spec.Rules = nil
		if !exposed {
			t.Spec, t.Status = gatewayv1.HTTPRouteSpec{Hostnames: t.Spec.Hostnames}, gatewayv1.HTTPRouteStatus{}
		}
	case *gatewayv1.GRPCRoute:
		t.Spec.Rules = nil
		if !exposed {
			t.Spec, t.Status = gatewayv1.GRPCRouteSpec{Hostnames: t.Spec.Hostnames}, gatewayv1.GRPCRouteStatus{}
		}
	case *gatewayv1.TLSRoute:
		trimTLSRoute(t, exposed)
	case *gatewayapi.TLSRouteV1alpha2:
		trimTLSRoute(&t.TLSRoute, exposed)
	case *gatewayapi.TLSRouteV1alpha3:
		trimTLSRoute(&t.TLSRoute, exposed)
	case *gatewayv1.Gateway:
		t.Status = gatewayv1.GatewayStatus{Addresses: t.Status.Addresses[:min(len(t.Status.Addresses), maxGatewayAddresses)]}
	case *gatewayv1.ListenerSet:
		trimListenerSet(t)
	case *gatewayapi.XListenerSet:
		trimListenerSet(&t.ListenerSet)
	case *corev1.Service:
		t.Spec = corev1.ServiceSpec{Ports: t.Spec.Ports, ClusterIPs: t.Spec.ClusterIPs, ExternalIPs: t.Spec.ExternalIPs}
		t.Status.Conditions = nil
	case *corev1.Namespace:
		t.Spec, t.Status = corev1.NamespaceSpec{}, corev1.NamespaceStatus{}
	}
	return object
}

// maxGatewayAddresses bounds the addresses of a Gateway, as the API server does.
const maxGatewayAddresses = 16

func trimTLSRoute(t *gatewayv1.TLSRoute, exposed bool) {
	t.Spec.Rules = nil
	if !exposed {
		t.Spec, t.Status = gatewayv1.TLSRouteSpec{Hostnames: t.Spec.Hostnames}, gatewayv1.TLSRouteStatus{}
	}
}

// trimListenerSet keeps of the status only whether the ListenerSet is accepted, without
// the message and the times.
func trimListenerSet(t *gatewayv1.ListenerSet) {
	accepted := string(gatewayv1.ListenerSetConditionAccepted)
	is := meta.FindStatusCondition(t.Status.Conditions, accepted)
	t.Status = gatewayv1.ListenerSetStatus{}
	if is != nil {
		t.Status.Conditions = []metav1.Condition{{Type: accepted, Status: is.Status}}
	}
}

// readsSame reports whether two versions of a trimmed object differ only in fields that
// usher does not read. The controller of a Gateway updates its status whenever a route
// is added or removed; without this check, each update would cause new decisions on all
// objects that refer to the Gateway.
func readsSame(before, after client.Object) bool {
	before, after = before.DeepCopyObject().(client.Object), after.DeepCopyObject().(client.Object)
	for _, o := range []client.Object{before, after} {
		o.SetResourceVersion("")
		o.SetGeneration(0)
	}
	return equality.Semantic.DeepEqual(before, after)
}

// trimIngress keeps the class and the hosts of an exposed Ingress, and whether each host
// has a path. Of another Ingress it keeps the hosts only.
func trimIngress(spec networkingv1.IngressSpec, exposed bool) networkingv1.IngressSpec {
	var kept networkingv1.IngressSpec
	if len(spec.Rules) == 0 && spec.DefaultBackend != nil {
		kept.DefaultBackend = &networkingv1.IngressBackend{}
	}
	if !exposed {
		kept.Rules = hostsOnly(spec.Rules)
		return kept
	}
	kept.IngressClassName = spec.IngressClassName
	for _, rule := range spec.Rules {
		short := networkingv1.IngressRule{Host: rule.Host}
		if rule.HTTP != nil && len(rule.HTTP.Paths) > 0 {
			short.HTTP = &networkingv1.HTTPIngressRuleValue{Paths: make([]networkingv1.HTTPIngressPath, 1)}
		}
		kept.Rules = append(kept.Rules, short)
	}
	return kept
}

// hostsOnly returns a copy of rules with nothing but their hosts.
func hostsOnly(rules []networkingv1.IngressRule) []networkingv1.IngressRule {
	if len(rules) == 0 {
		return nil
	}
	kept := make([]networkingv1.IngressRule, len(rules))
	for i := range rules {
		kept[i].Host = rules[i].Host
	}
	return kept
}

// trimMeta removes managed fields except who annotated the object, owner references,
// finalizers, and the annotations and labels that usher does not read.
func trimMeta(object client.Object) {
	source.KeepManager(object)
	object.SetOwnerReferences(nil)
	object.SetFinalizers(nil)
	annotations := object.GetAnnotations()
	maps.DeleteFunc(annotations, func(key, _ string) bool { return !annotationRead(key) })
	if len(annotations) == 0 {
		object.SetAnnotations(nil)
	}
	switch object.(type) {
	case *corev1.Namespace:
	case *corev1.Service:
		maps.DeleteFunc(object.GetLabels(), func(key, _ string) bool {
			return key != labelVersion && key != source.LabelChart && key != source.LabelName
		})
	default:
		if !source.Exposed(annotations) && !source.Solver(object) {
			object.SetLabels(nil)
		}
	}
}

// annotationRead reports whether anything in usher reads the annotation.
func annotationRead(key string) bool {
	return strings.HasPrefix(key, "usher.techn.is/") ||
		strings.HasPrefix(key, source.AnnotationRouterTLS) || key == source.AnnotationRouterEntryPoints ||
		key == networkingv1.AnnotationIsDefaultIngressClass ||
		key == "kubernetes.io/ingress.class"
}
