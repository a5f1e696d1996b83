package source

import corev1 "k8s.io/api/core/v1"

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
