package controllers

import (
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/routetable"
	"github.com/jovalle/usher/proxy/routing"
)

// addressRefusal returns why a MemberCluster has no address that may be used; "" if it
// has one, or has no addresses at all.
func addressRefusal(mc *v1alpha1.MemberCluster) string {
	ready := meta.FindStatusCondition(mc.Status.Conditions, v1alpha1.ConditionReady)
	if ready == nil || ready.Reason != reason.AddressRefused {
		return ""
	}
	return ready.Message
}

// endpointsOf returns the endpoints of backends. It returns those that lead back to usher
// separately, since the proxy does not dial them, even if they are from a spec.
func endpointsOf(backends []routing.Backend, own func(netip.AddrPort) bool) (endpoints, loops []string) {
	for _, b := range backends {
		for i, endpoint := range routetable.Endpoints(b.Addresses, int32(b.HTTPSPort)) {
			addr, err := netip.ParseAddr(b.Addresses[i])
			if err == nil && leadsBack(own, routing.Effective(addr), &b) {
				loops = append(loops, endpoint)
			} else {
				endpoints = append(endpoints, endpoint)
			}
		}
	}
	return endpoints, loops
}

// withLoops adds the endpoints that lead back to usher to an accepted host's Ready
// condition.
func withLoops(ready metav1.Condition, accepted metav1.ConditionStatus, loops []string) metav1.Condition {
	if len(loops) == 0 || accepted != metav1.ConditionTrue {
		return ready
	}
	said := message.Format("%s is an address of usher itself, so connections would loop; correct spec.backends, or the MemberCluster's spec.ingress", strings.Join(loops, ", "))
	if ready.Status == metav1.ConditionTrue {
		ready.Message = message.Format("%s; %s", ready.Message, said)
	} else {
		ready.Reason, ready.Message = reason.AddressRefused, said
	}
	return ready
}
