package member

import (
	"cmp"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/gatewayapi"
)

// Gateway is a Gateway of a member that hosts may be led to.
type Gateway struct {
	types.NamespacedName
	// Addresses of its status, as the member wrote them.
	Addresses []string
}

// maxGateways is how many Gateways the status of a MemberCluster lists.
const maxGateways = 32

// gatewayCache keeps what is known of all Gateways together, since each route of the
// Gateway API is compared with all of them.
type gatewayCache struct {
	compute func() *source.Gateways

	mu      sync.Mutex
	version int              // of the objects and rules that known depends on
	known   *source.Gateways // nil: not computed for version
}

// get returns what is known of the Gateways.
func (c *gatewayCache) get() *source.Gateways {
	c.mu.Lock()
	known, version := c.known, c.version
	c.mu.Unlock()
	if known != nil {
		return known
	}
	known = c.compute()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.version == version {
		c.known = known
	}
	return known
}

// changed makes the next get compute again.
func (c *gatewayCache) changed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	c.known = nil
}

// knownGateways returns what is known of the cluster's Gateways.
func (s *session) knownGateways() *source.Gateways {
	addresses, traefik := s.ingress()
	return source.NewGateways(s.allGateways(), addresses, traefik)
}

// ingress returns the addresses at which the member's ingress answers, as far as they are
// known, and whether it is known to be Traefik's. Where the MemberCluster gives the
// addresses, the Service counts only if it has one of them.
func (s *session) ingress() (addresses []string, traefik bool) {
	pinned, service := s.listener.rules().Addresses, s.service()
	if service == nil {
		return pinned, false
	}
	addresses = slices.Concat(source.LoadBalancerAddresses(service), service.Spec.ExternalIPs, clusterIPs(service))
	if len(pinned) > 0 && !slices.ContainsFunc(pinned, func(address string) bool { return slices.Contains(addresses, address) }) {
		return pinned, false
	}
	return slices.Concat(pinned, addresses), source.OfTraefikChart(service)
}

// clusterIPs returns the addresses of a Service within its cluster.
func clusterIPs(service *corev1.Service) []string {
	return slices.DeleteFunc(slices.Clone(service.Spec.ClusterIPs), func(ip string) bool { return ip == corev1.ClusterIPNone })
}

// allGateways returns the Gateways of the cluster, the oldest first.
func (s *session) allGateways() []*gatewayv1.Gateway {
	store := s.store(gatewayKind)
	if store == nil {
		return nil
	}
	var all []*gatewayv1.Gateway
	for _, o := range store.List() {
		all = append(all, o.(*gatewayv1.Gateway))
	}
	slices.SortFunc(all, func(a, b *gatewayv1.Gateway) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// ownGateways returns the Gateways that hosts may be led to.
func (s *session) ownGateways() []Gateway {
	if !s.listener.rules().Gateways {
		return nil
	}
	known := s.gateways.get()
	var own []Gateway
	for _, gateway := range s.allGateways() {
		if len(own) < maxGateways && source.ServesTLS(gateway) && known.OwnAddress(gateway) {
			own = append(own, Gateway{client.ObjectKeyFromObject(gateway), source.GatewayAddresses(gateway)})
		}
	}
	return own
}

// gatewaysChanged reads again what depends on the Gateways or on the member's ingress.
func (s *session) gatewaysChanged() {
	s.gateways.changed()
	s.reader.readKindsAgain(gatewayRouteKinds...)
	if s.listener.rules().Gateways {
		s.listener.stateChanged(s)
	}
}

// listenerSet returns a ListenerSet of one of the two kinds, or nil.
func (s *session) listenerSet(kind, namespace, name string) *gatewayv1.ListenerSet {
	if kind == source.KindXListenerSet {
		if o, ok := s.get(xListenerSetKind, namespace, name).(*gatewayapi.XListenerSet); ok {
			return &o.ListenerSet
		}
		return nil
	}
	o, _ := s.get(listenerSetKind, namespace, name).(*gatewayv1.ListenerSet)
	return o
}
