package controllers

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/member"
	"github.com/jovalle/usher/controllers/routetable"
	"github.com/jovalle/usher/proxy/routing"
)

// Bounds on what a member's object adds to a status.
const (
	maxAddresses   = 16 // as many as spec.ingress.addresses may have
	namedRefusals  = 3  // that a message names
	quotedAddress  = 64 // characters
	moreInMessages = "; %d more are refused"
)

// memberIngress is what became of a member's addresses.
type memberIngress struct {
	resolved *v1alpha1.ResolvedIngress // nil: no address can be used
	pinned   bool                      // a person gave the addresses
	refused  []string                  // "ADDRESS, which is …"
}

// refusal says which addresses are refused, why, and what to do.
func (i *memberIngress) refusal(mc *v1alpha1.MemberCluster) string {
	who, advice := "spec.ingress.addresses has ", "correct it, or spec.ingress.allowedNetworks"
	if !i.pinned {
		who = fmt.Sprintf("Service %s/%s has ", mc.Spec.Ingress.Service.Namespace, mc.Spec.Ingress.Service.Name)
		advice = "give it another address, or set spec.ingress.addresses"
	}
	named := i.refused[:min(len(i.refused), namedRefusals)]
	message := who + strings.Join(named, ", and ")
	if more := len(i.refused) - len(named); more > 0 {
		message += fmt.Sprintf(moreInMessages, more)
	}
	return message + "; " + advice
}

// ingressOf is where a member's ingress answers: those of its addresses that may be used.
func ingressOf(mc *v1alpha1.MemberCluster, state member.State, checker addressChecker) memberIngress {
	addresses, pinned := knownAddresses(mc, state)
	ingress := routetable.Resolve(mc.Spec.Ingress, nil, pinned)
	backend := routetable.Backend(mc.Name, mc.Spec.Ingress, ingress)
	found := memberIngress{pinned: pinned}
	for i, address := range addresses {
		switch why := checker.refusal(&backend, address); {
		case i >= maxAddresses:
			found.refused = append(found.refused, quoted(address)+fmt.Sprintf(", which is one of more than %d", maxAddresses))
		case why != "":
			found.refused = append(found.refused, quoted(address)+", which is "+why)
		default:
			ingress.Addresses = append(ingress.Addresses, address)
		}
	}
	if len(ingress.Addresses) > 0 {
		ingress.Summary = firstAndMore(routetable.Endpoints(ingress.Addresses, ingress.HTTPSPort))
		found.resolved = &ingress
	}
	return found
}

// quoted writes an address that anybody may have written, for a message.
func quoted(address string) string {
	if addr, err := netip.ParseAddr(address); err == nil && addr.Zone() == "" {
		return address
	}
	return fmt.Sprintf("%.*q", quotedAddress, address)
}

// knownAddresses returns the addresses of a member's ingress as they are known
// now, and whether a person gave them. What was last known stays until another
// is, or until a member that is in sync tells that there is none.
func knownAddresses(mc *v1alpha1.MemberCluster, state member.State) (addresses []string, pinned bool) {
	if pinned := mc.Spec.Ingress.Addresses; len(pinned) > 0 {
		return pinned, true
	}
	asked := state.Service == types.NamespacedName(mc.Spec.Ingress.Service)
	switch {
	case asked && len(state.Addresses) > 0:
		return state.Addresses, false
	case asked && state.ServiceRead && state.Synced.True:
		return nil, false
	case mc.Status.Ingress != nil:
		return mc.Status.Ingress.Addresses, mc.Status.Ingress.Pinned
	}
	return nil, false
}

// addressChecker tells which addresses a member's ingress must not have. It rests
// on what is known at the edge, and asks nobody.
type addressChecker struct {
	own   func(netip.AddrPort) bool
	edge  []network
	taken map[netip.Addr]string // address → the member that has it before this one
}

// checkerOf gathers what is known of the addresses that a member must not have.
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

// refusal says, as the end of "which is …", why a backend must not have an
// address; "" where it may. What a person gave is only refused where it leads
// back to usher, or out of the networks that a person gave.
func (j *addressChecker) refusal(backend *routing.Backend, address string) string {
	if why := routetable.Refusal(backend, address); why != "" {
		return why
	}
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return "" // a person's name: checked when it is dialled
	}
	addr = routing.Effective(addr)
	if !backend.Discovered {
		return "" // a person's choice: where it leads back to usher, its hosts say so
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

// takenBefore returns the addresses that other members have before this one may:
// those that a person gave them; and of those that their own objects name, those
// in their status which are not in this one's, or are and their MemberCluster is
// the older one. The member that has an address keeps it: a member that names another's
// must not get it by being older.
//
// Clusters: name → cluster. Names: what names resolve to that a person gave.
func takenBefore(mc *v1alpha1.MemberCluster, clusters map[string]*v1alpha1.MemberCluster, names map[string][]netip.Addr) map[netip.Addr]string {
	has := map[netip.Addr]bool{}
	if mc.Status.Ingress != nil && !mc.Status.Ingress.Pinned {
		for _, addr := range effective(mc.Status.Ingress.Addresses, nil) {
			has[addr] = true
		}
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
	}
	return taken
}

// effective returns the IP addresses of a list, and those that names of it resolve
// to, as routing.Effective has them.
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

// olderCluster reports whether a was made before b; of the same second, by name.
func olderCluster(a, b *v1alpha1.MemberCluster) bool {
	if order := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); order != 0 {
		return order < 0
	}
	return a.Name < b.Name
}
