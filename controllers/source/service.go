package source

import (
	"regexp"

	corev1 "k8s.io/api/core/v1"
)

// LoadBalancerAddresses returns the IP addresses and DNS names of a Service's load
// balancer, in their order; of an entry that has both, the IP address.
func LoadBalancerAddresses(service *corev1.Service) []string {
	var addresses []string
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		if ingress.IP != "" {
			addresses = append(addresses, ingress.IP)
		} else if ingress.Hostname != "" {
			addresses = append(addresses, ingress.Hostname)
		}
	}
	return addresses
}

// The labels by which the Service of Traefik's Helm chart is known.
const (
	LabelChart = "helm.sh/chart"
	LabelName  = "app.kubernetes.io/name"
)

// TraefikChart matches the label LabelChart of Traefik's chart, also as K3s and RKE2
// install it. Its group is the chart's major version.
var TraefikChart = regexp.MustCompile(`^(?:rke2-)?traefik-([0-9]{1,3})\.[0-9]`)

// OfTraefikChart reports whether a Service is from Traefik's Helm chart, which K3s and
// RKE2 use too.
func OfTraefikChart(service *corev1.Service) bool {
	return service.Labels[LabelName] == "traefik" || TraefikChart.MatchString(service.Labels[LabelChart])
}

// maxEntryPoints bounds the entry points of one port, and maxPortName their names in
// bytes, as the API server does: a status lists them.
const (
	maxEntryPoints = 16
	maxPortName    = 63
)

// EntryPointsOf returns the entry points of Traefik by the ports of its Service, which
// may be nil: port → names. Only Traefik's chart names a port after its entry point.
func EntryPointsOf(service *corev1.Service) map[int32][]string {
	if service == nil || !OfTraefikChart(service) {
		return nil
	}
	names := map[int32][]string{}
	for _, port := range service.Spec.Ports {
		if port.Name != "" && len(port.Name) <= maxPortName && len(names[port.Port]) < maxEntryPoints && (port.Protocol == corev1.ProtocolTCP || port.Protocol == "") {
			names[port.Port] = append(names[port.Port], port.Name)
		}
	}
	return names
}
