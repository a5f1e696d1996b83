package enroll

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
)

// defaultServices are the names of Traefik's Service in K3s and in Traefik's Helm chart.
var defaultServices = []types.NamespacedName{
	{Namespace: "kube-system", Name: "traefik"},
	{Namespace: "traefik", Name: "traefik"},
}

// traefikLabels are the labels that Traefik's Helm chart, which K3s uses too, sets on its Service.
var traefikLabels = client.MatchingLabels{"app.kubernetes.io/name": "traefik"}

// Names of Traefik's default entry points, which its Helm chart gives to the Service's ports.
const (
	portHTTPS = "websecure"
	portHTTP  = "web"
)

// ErrNoIngress marks a member whose ingress address was not found and must be given.
var ErrNoIngress = errors.New("set an address with --address, or a Service with --service")

// ingressOfService returns the endpoint of a Service's load balancer, and its current addresses.
func (c *Cluster) ingressOfService(ctx context.Context, key types.NamespacedName) (v1alpha1.IngressEndpoint, []string, error) {
	var service corev1.Service
	if err := c.client.Get(ctx, key, &service); err != nil {
		return v1alpha1.IngressEndpoint{}, nil, c.failed("read Service "+key.String(), err)
	}
	addresses := source.LoadBalancerAddresses(&service)
	if len(addresses) == 0 {
		err := fmt.Errorf("service %s has no load-balancer address: %w", key, ErrNoIngress)
		return v1alpha1.IngressEndpoint{}, nil, c.failed("find Traefik", err)
	}
	return endpointOf(&service), addresses, nil
}

// findIngress searches for Traefik's Service by its default names, and then by its label.
func (c *Cluster) findIngress(ctx context.Context) (v1alpha1.IngressEndpoint, []string, error) {
	for _, key := range defaultServices {
		endpoint, addresses, err := c.ingressOfService(ctx, key)
		if err == nil || !apierrors.IsNotFound(err) && !errors.Is(err, ErrNoIngress) {
			return endpoint, addresses, err
		}
	}
	var list corev1.ServiceList
	if err := c.client.List(ctx, &list, traefikLabels); err != nil {
		return v1alpha1.IngressEndpoint{}, nil, c.failed("look for Traefik's Service", err)
	}
	found, err := onlyBalancer(list.Items)
	if err != nil {
		return v1alpha1.IngressEndpoint{}, nil, c.failed("find Traefik", err)
	}
	return endpointOf(found), source.LoadBalancerAddresses(found), nil
}

// onlyBalancer returns the only Service that has a load-balancer address.
func onlyBalancer(services []corev1.Service) (*corev1.Service, error) {
	var found []*corev1.Service
	var names []string
	for i := range services {
		if len(source.LoadBalancerAddresses(&services[i])) > 0 {
			found = append(found, &services[i])
			names = append(names, services[i].Namespace+"/"+services[i].Name)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("no Service of Traefik has a load-balancer address: %w", ErrNoIngress)
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("several Services may be Traefik's, %s: %w", strings.Join(names, " and "), ErrNoIngress)
}

// serviceToRead returns the Service that usher needs to read: its load balancer has the
// addresses, or if addresses are given, its labels still tell the version of Traefik. It
// is zero if addresses are given and the Service does not exist.
func (c *Cluster) serviceToRead(ctx context.Context, ingress v1alpha1.IngressEndpoint) (types.NamespacedName, error) {
	key := types.NamespacedName(ingress.Service)
	if len(ingress.Addresses) == 0 {
		return key, nil
	}
	if key.Name == "" {
		key = defaultServices[0] // the default of the field
	}
	var service corev1.Service
	switch err := c.client.Get(ctx, key, &service); {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		return types.NamespacedName{}, nil
	case err != nil:
		return types.NamespacedName{}, c.failed("read Service "+key.String(), err)
	}
	return key, nil
}

// endpointOf returns the endpoint of a Service, with the ports that have Traefik's default names.
func endpointOf(service *corev1.Service) v1alpha1.IngressEndpoint {
	endpoint := v1alpha1.IngressEndpoint{Service: v1alpha1.ServiceRef{Namespace: service.Namespace, Name: service.Name}}
	for _, port := range service.Spec.Ports {
		switch port.Name {
		case portHTTPS:
			endpoint.HTTPSPort = port.Port
		case portHTTP:
			endpoint.HTTPPort = port.Port
		}
	}
	return endpoint
}
