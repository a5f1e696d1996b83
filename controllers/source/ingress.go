package source

import networkingv1 "k8s.io/api/networking/v1"

// FromIngress reads an Ingress.
func FromIngress(ingress *networkingv1.Ingress, in Context) Result {
	return Result{}
}
