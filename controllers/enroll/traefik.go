package enroll

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
)

// defaultServices are the names of Traefik's Service in K3s and in Traefik's Helm chart.
var defaultServices = []types.NamespacedName{
	{Namespace: "kube-system", Name: "traefik"},
	{Namespace: "traefik", Name: "traefik"},
}

// labelComponent is on the Service of Traefik's chart for metrics.
const labelComponent = "app.kubernetes.io/component"

// Names of Traefik's default entry points, which its Helm chart gives to the Service's ports.
const (
	portHTTPS = "websecure"
	portHTTP  = "web"
)

// defaultHTTPSPort is the default of spec.ingress.httpsPort.
const defaultHTTPSPort = 443

// ErrNoIngress marks a member whose ingress address was not found and must be given.
var ErrNoIngress = errors.New("set an address with --address, or a Service with --service")

// ErrSeveral marks a member with several Traefiks, of which a person must choose one.
var ErrSeveral = errors.New("name one with --service NAMESPACE/NAME")

// A traefikService is a Service that leads to a Traefik.
type traefikService struct {
	*corev1.Service
	config  *staticConfig // of the Traefik; nil if it cannot be read
	problem error         // why it cannot be read
	pods    *corev1.PodSpec
}

func (s *traefikService) key() types.NamespacedName { return client.ObjectKeyFromObject(s.Service) }

// traefikOf reads a Service, and the configuration of the Traefik that it leads to.
func (c *Cluster) traefikOf(ctx context.Context, key types.NamespacedName) (*traefikService, error) {
	service := &corev1.Service{}
	if err := c.client.Get(ctx, key, service); err != nil {
		return nil, c.failed("read Service "+key.String(), err)
	}
	return c.readTraefik(ctx, service), nil
}

// traefiks returns the Services that lead to a Traefik: those of its Helm chart and those
// with its default names, by namespace and name.
func (c *Cluster) traefiks(ctx context.Context) ([]*traefikService, error) {
	var list corev1.ServiceList
	if err := c.client.List(ctx, &list); err != nil {
		return nil, c.failed("look for Traefik's Service", err)
	}
	var found []*traefikService
	for i := range list.Items {
		service := &list.Items[i]
		key := client.ObjectKeyFromObject(service)
		if isIngress(service) && (source.OfTraefikChart(service) || slices.Contains(defaultServices, key)) {
			found = append(found, c.readTraefik(ctx, service))
		}
	}
	slices.SortFunc(found, func(a, b *traefikService) int { return cmp.Compare(a.key().String(), b.key().String()) })
	return found, nil
}

// isIngress reports whether connections may come to a Service of Traefik's chart, which
// also creates Services for metrics and for UDP.
func isIngress(service *corev1.Service) bool {
	return service.Labels[labelComponent] != "metrics" && slices.ContainsFunc(service.Spec.Ports, isTCP)
}

func isTCP(port corev1.ServicePort) bool {
	return port.Protocol == corev1.ProtocolTCP || port.Protocol == ""
}

// readTraefik reads the configuration of the Traefik that a Service leads to.
func (c *Cluster) readTraefik(ctx context.Context, service *corev1.Service) *traefikService {
	s := &traefikService{Service: service}
	pods, err := c.podsOf(ctx, service)
	if err != nil {
		s.problem = err
		return s
	}
	for i := range pods {
		config, err := staticConfigOf(&pods[i])
		switch {
		case err != nil:
			s.config, s.problem = nil, err
			return s
		case s.config != nil && !reflect.DeepEqual(s.config, config):
			s.config, s.problem = nil, errors.New("its selector has Traefiks with different configurations")
			return s
		}
		s.config, s.pods = config, &pods[i]
	}
	return s
}

// podsOf returns the pods of the Deployments and DaemonSets that a Service selects, as
// Traefik's chart creates them.
func (c *Cluster) podsOf(ctx context.Context, service *corev1.Service) ([]corev1.PodSpec, error) {
	var deployments appsv1.DeploymentList
	var daemonSets appsv1.DaemonSetList
	for _, list := range []client.ObjectList{&deployments, &daemonSets} {
		if err := c.client.List(ctx, list, client.InNamespace(service.Namespace)); err != nil {
			return nil, err
		}
	}
	var templates []corev1.PodTemplateSpec
	for i := range deployments.Items {
		templates = append(templates, deployments.Items[i].Spec.Template)
	}
	for i := range daemonSets.Items {
		templates = append(templates, daemonSets.Items[i].Spec.Template)
	}
	var pods []corev1.PodSpec
	for i := range templates {
		if len(service.Spec.Selector) > 0 && labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(templates[i].Labels)) {
			pods = append(pods, templates[i].Spec)
		}
	}
	if len(pods) == 0 {
		return nil, errors.New("it selects no Deployment and no DaemonSet of its namespace")
	}
	return pods, nil
}

// addresses returns the Service's load-balancer addresses.
func (s *traefikService) addresses() []string { return source.LoadBalancerAddresses(s.Service) }

// String describes the Service to a person who chooses one.
func (s *traefikService) String() string {
	at := "no external address"
	if addresses := slices.Concat(s.addresses(), s.Spec.ExternalIPs); len(addresses) > 0 {
		at = strings.Join(addresses, ", ")
	}
	serves := "ingress class unknown"
	if s.config != nil {
		serves = s.config.serves()
	}
	var ports []string
	for _, port := range s.Spec.Ports {
		if names := strings.Join(s.entryPoints(port.Port), ", "); names != "" {
			ports = append(ports, fmt.Sprintf("%s (%d)", names, port.Port))
		} else if isTCP(port) {
			ports = append(ports, fmt.Sprintf("unknown (%d)", port.Port))
		}
	}
	return fmt.Sprintf("%s: %s, %s; %s; entry points %s", s.key(), cmp.Or(s.Spec.Type, corev1.ServiceTypeClusterIP), at, serves, strings.Join(ports, ", "))
}

// entryPoints returns the entry points that a TCP port of the Service leads to: those that
// listen there, or if that is not known, those after which the chart has named the port.
func (s *traefikService) entryPoints(number int32) []string {
	for _, port := range s.Spec.Ports {
		if port.Port != number || !isTCP(port) || s.config == nil {
			continue
		}
		if names := s.config.listeningOn(s.targetPort(port)); len(names) > 0 {
			return names
		}
	}
	return source.EntryPointsOf(s.Service)[number]
}

// targetPort returns the port of a pod that a port of the Service leads to; 0 if no
// container has it.
func (s *traefikService) targetPort(port corev1.ServicePort) int32 {
	if port.TargetPort.Type == intstr.Int {
		return cmp.Or(port.TargetPort.IntVal, port.Port)
	}
	for _, container := range s.pods.Containers {
		for _, p := range container.Ports {
			if p.Name == port.TargetPort.StrVal {
				return p.ContainerPort
			}
		}
	}
	return 0
}

// endpoint returns the Service's endpoint, with the ports that have Traefik's default names.
func (s *traefikService) endpoint() v1alpha1.IngressEndpoint {
	endpoint := v1alpha1.IngressEndpoint{Service: v1alpha1.ServiceRef{Namespace: s.Namespace, Name: s.Name}}
	for _, port := range s.Spec.Ports {
		switch port.Name {
		case portHTTPS:
			endpoint.HTTPSPort = port.Port
		case portHTTP:
			endpoint.HTTPPort = port.Port
		}
	}
	return endpoint
}

// describeAll describes Services, a line each.
func describeAll(services []*traefikService) string {
	var lines strings.Builder
	for _, s := range services {
		lines.WriteString("\n  " + s.String())
	}
	return lines.String()
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
