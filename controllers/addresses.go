package controllers

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/member"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/routetable"
	"github.com/jovalle/usher/proxy/routing"
)

// Limits on what the objects of a member add to a status.
const (
	maxAddresses   = 16 // the maximum of spec.ingress.addresses
	namedRefusals  = 3  // refused addresses that a message names
	quotedAddress  = 64 // characters of an address in a message
	moreInMessages = "; %d more are refused"
)

// memberIngress is the result of checking a member's addresses.
type memberIngress struct {
	resolved *v1alpha1.ResolvedIngress // nil: no address can be used
	pinned   bool                      // the addresses are from spec.ingress.addresses
	refused  []string                  // "ADDRESS, which is …"
}

// refusal returns a message about the refused addresses, with the reasons and advice.
func (i *memberIngress) refusal(mc *v1alpha1.MemberCluster) string {
	who, advice := "spec.ingress.addresses has ", "correct it, or spec.ingress.allowedNetworks"
	if !i.pinned {
		who = fmt.Sprintf("Service %s/%s has ", mc.Spec.Ingress.Service.Namespace, mc.Spec.Ingress.Service.Name)
		advice = "give it another address, or set spec.ingress.addresses"
	}
	return who + firstRefusals(i.refused) + "; " + advice
}

// firstRefusals lists the first refused addresses, and how many more there are.
func firstRefusals(refused []string) string {
	named := refused[:min(len(refused), namedRefusals)]
	list := strings.Join(named, ", and ")
	if more := len(refused) - len(named); more > 0 {
		list += fmt.Sprintf(moreInMessages, more)
	}
	return list
}

// ingressOf returns the addresses of a member's ingress that may be used.
func ingressOf(mc *v1alpha1.MemberCluster, state member.State, checker addressChecker) memberIngress {
	addresses, pinned := knownAddresses(mc, state)
	ingress := routetable.Resolve(mc.Spec.Ingress, nil, pinned)
	backend := routetable.Backend(mc.Name, mc.Spec.Ingress, ingress)
	found := memberIngress{pinned: pinned}
	ingress.Addresses, found.refused = checker.split(&backend, addresses)
	if len(ingress.Addresses) > 0 {
		ingress.Summary = firstAndMore(routetable.Endpoints(ingress.Addresses, ingress.HTTPSPort))
		found.resolved = &ingress
	}
	return found
}

// gatewaysOf returns the Gateways of a member that hosts may be led to, with the addresses
// that may be used. The last known ones stay while the member is not in sync.
func gatewaysOf(mc *v1alpha1.MemberCluster, state member.State, checker addressChecker) []v1alpha1.ResolvedGateway {
	switch {
	case !mc.Spec.Ingress.Gateways:
		return nil
	case !state.Synced.True:
		return mc.Status.Gateways
	}
	backend := routetable.Backend(mc.Name, mc.Spec.Ingress, routetable.Resolve(mc.Spec.Ingress, nil, false))
	gateways := make([]v1alpha1.ResolvedGateway, 0, len(state.Gateways))
	for _, known := range state.Gateways {
		gateway := v1alpha1.ResolvedGateway{Namespace: known.Namespace, Name: known.Name}
		var refused []string
		if gateway.Addresses, refused = checker.split(&backend, known.Addresses); len(refused) > 0 {
			gateway.Refusal = message.Format("it has %s; give it another address, or correct spec.ingress.allowedNetworks", firstRefusals(refused))
		}
		gateways = append(gateways, gateway)
	}
	return gateways
}

// quoted formats an address from an untrusted source for a message.
func quoted(address string) string {
	if addr, err := netip.ParseAddr(address); err == nil && addr.Zone() == "" {
		return address
	}
	return fmt.Sprintf("%.*q", quotedAddress, address)
}

// knownAddresses returns the known addresses of a member's ingress, and whether they are
// from spec.ingress.addresses. The last known addresses stay until the member's Service
// has others, or until a member in sync shows that the Service has none.
func knownAddresses(mc *v1alpha1.MemberCluster, state member.State) (addresses []string, pinned bool) {
	if pinned := mc.Spec.Ingress.Addresses; len(pinned) > 0 {
		return pinned, true
	}
	sameService := state.Service == types.NamespacedName(mc.Spec.Ingress.Service)
	switch {
	case sameService && len(state.Addresses) > 0:
		return state.Addresses, false
	case sameService && state.ServiceRead && state.Synced.True:
		return nil, false
	case mc.Status.Ingress != nil:
		return mc.Status.Ingress.Addresses, mc.Status.Ingress.Pinned
	}
	return nil, false
}

// addressChecker checks which addresses a member's ingress must not have. It uses only
// data that the edge already has, and sends no requests.
type addressChecker struct {
	own   func(netip.AddrPort) bool
	edge  []network
	taken map[netip.Addr]string // address → the member that has it before this one
}

// checkerOf returns the checker of a member's addresses.
func (r *MemberClusterReconciler) checkerOf(ctx context.Context, mc *v1alpha1.MemberCluster) (addressChecker, error) {
	clusters, err := listClusters(ctx, r.Client)
	if err != nil {
		return addressChecker{}, err
	}
	edge, err := r.edge.known(ctx)
	if err != nil {
		return addressChecker{}, err
	}
	return addressChecker{own: r.OwnAddress, edge: edge, taken: takenBefore(mc, clusters, r.names.all())}, nil
}

// split returns the addresses that a backend may have, and the others as "ADDRESS, which
// is …".
func (j *addressChecker) split(backend *routing.Backend, addresses []string) (allowed, refused []string) {
	for i, address := range addresses {
		switch why := j.refusal(backend, address); {
		case i >= maxAddresses:
			refused = append(refused, quoted(address)+fmt.Sprintf(", which is one of more than %d", maxAddresses))
		case why != "":
			refused = append(refused, quoted(address)+", which is "+why)
		default:
			allowed = append(allowed, address)
		}
	}
	return allowed, refused
}

// refusal returns why a backend must not have an address, as the end of "which is …"; ""
// if it may. An address from the MemberCluster's spec is refused only if it leads back
// to usher or is outside of the allowed networks.
func (j *addressChecker) refusal(backend *routing.Backend, address string) string {
	if why := routetable.Refusal(backend, address); why != "" {
		return why
	}
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return "" // a DNS name from the spec: the proxy checks it when it dials
	}
	addr = routing.Effective(addr)
	if !backend.Discovered {
		return "" // from the spec: if it leads back to usher, the status of its hosts says so
	}
	if leadsBack(j.own, addr, backend) {
		return "usher's own: a connection would come back for ever"
	}
	for _, network := range j.edge {
		if network.prefix.Contains(addr) {
			return "in " + network.what
		}
	}
	if other, ok := j.taken[addr]; ok {
		return "the address of MemberCluster " + other
	}
	return ""
}

// leadsBack reports whether an address is one of usher's own listeners on the HTTPS
// port of a backend.
func leadsBack(own func(netip.AddrPort) bool, addr netip.Addr, backend *routing.Backend) bool {
	return own != nil && own(netip.AddrPortFrom(addr, backend.HTTPSPort))
}

// takenBefore returns the addresses that other members have precedence for. These are
// the addresses in their spec. They are also the addresses in their status, from their
// Services and Gateways, that are not in the status of mc, or that are and their MemberCluster is
// older. A member keeps an address that it has: another member that names it must not
// get it by being older.
//
// clusters: name → cluster. names: DNS name in a spec → the addresses that it resolves
// to.
func takenBefore(mc *v1alpha1.MemberCluster, clusters map[string]*v1alpha1.MemberCluster, names map[string][]netip.Addr) map[netip.Addr]string {
	has := map[netip.Addr]bool{}
	if mc.Status.Ingress != nil && !mc.Status.Ingress.Pinned {
		for _, addr := range effective(mc.Status.Ingress.Addresses, nil) {
			has[addr] = true
		}
	}
	for _, addr := range addressesOfGateways(mc) {
		has[addr] = true
	}
	taken := map[netip.Addr]string{}
	for name, other := range clusters {
		if name == mc.Name {
			continue
		}
		ingress := routetable.Ingress(other)
		for _, addr := range effective(ingress.Addresses, names) {
			if ingress.Pinned || !has[addr] || olderCluster(other, mc) {
				taken[addr] = name
			}
		}
		for _, addr := range addressesOfGateways(other) {
			if !has[addr] || olderCluster(other, mc) {
				taken[addr] = name
			}
		}
	}
	return taken
}

// addressesOfGateways returns the addresses of the Gateways in the status of a member
// whose hosts are led to them.
func addressesOfGateways(mc *v1alpha1.MemberCluster) []netip.Addr {
	var addrs []netip.Addr
	if mc.Spec.Ingress.Gateways {
		for _, gateway := range mc.Status.Gateways {
			addrs = append(addrs, effective(gateway.Addresses, nil)...)
		}
	}
	return addrs
}

// effective returns the IP addresses in a list and those that its DNS names resolve to,
// in the form of routing.Effective.
func effective(addresses []string, names map[string][]netip.Addr) []netip.Addr {
	var addrs []netip.Addr
	for _, address := range addresses {
		if addr, err := netip.ParseAddr(address); err == nil {
			addrs = append(addrs, routing.Effective(addr))
		}
		for _, addr := range names[address] {
			addrs = append(addrs, routing.Effective(addr))
		}
	}
	return addrs
}

// olderCluster reports whether a was created before b. In the same second the name
// decides.
func olderCluster(a, b *v1alpha1.MemberCluster) bool {
	if order := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); order != 0 {
		return order < 0
	}
	return a.Name < b.Name
}
