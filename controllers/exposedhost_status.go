package controllers

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/admission"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/routetable"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/proxy/routing"
)

// statusOf returns the status of an ExposedHost for a decision. Clients is why no client
// may connect to an accepted host; nil if one may.
func statusOf(eh *v1alpha1.ExposedHost, decision admission.Decision, clusters map[string]*v1alpha1.MemberCluster, clients *source.Refusal, own func(netip.AddrPort) bool, edgePorts []string) v1alpha1.ExposedHostStatus {
	status := v1alpha1.ExposedHostStatus{
		Conditions:   slices.Clone(eh.Status.Conditions),
		Sources:      kept(decision.Sources, func(ref v1alpha1.SourceRef) string { return ref.Cluster }),
		SourcesTotal: total(max(len(decision.Sources), decision.RecordedSources)),
		RequestedBy:  requestedBy(eh.Status.RequestedBy, decision),
		Rivals:       kept(decision.Rivals, func(rival v1alpha1.Rival) string { return rival.Cluster }),
		RivalsTotal:  total(len(decision.Rivals)),
		DNS:          eh.Status.DNS, // DNSReconciler writes it, and its condition
	}
	endpoints, loops := endpointsOf(backendsOf(eh.Spec, clusters), own)
	status.Backends = endpoints
	accepted := metav1.Condition{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionFalse, Reason: decision.Reason, Message: decision.Message}
	if decision.Accepted {
		accepted.Status = metav1.ConditionTrue
	}
	ready := withLoops(readyCondition(eh, accepted, status.Backends, clusters), accepted.Status, loops)
	ready = withPorts(ready, eh.Spec, clusters, edgePorts)
	ready = withSpread(ready, eh.Spec, clusters)
	if decision.Accepted && clients != nil {
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, clients.Reason, clients.Message
	}
	setConditions(&status.Conditions, eh.Generation, accepted, ready)
	status.Summary = summary(eh, decision, status)
	status.Summary.Ports = strings.Join(servedPorts(eh.Spec, clusters, edgePorts), ",")
	return status
}

// requestedBy returns by whose annotation an accepted host is exposed. The version is the
// first one that was accepted: later ones change nothing.
func requestedBy(recorded *v1alpha1.RequestedBy, decision admission.Decision) *v1alpha1.RequestedBy {
	now := decision.Requested
	switch {
	case !decision.Accepted || now.SourceRef == v1alpha1.SourceRef{}:
		return nil
	case recorded != nil && recorded.SourceRef == now.SourceRef && (now.ResourceVersion == "" || recorded.Manager == now.Manager):
		return recorded
	}
	return &now
}

// backendsOf returns the backends of a host on each of its ports, first those of https.
func backendsOf(spec v1alpha1.ExposedHostSpec, clusters map[string]*v1alpha1.MemberCluster) []routing.Backend {
	var backends []routing.Backend
	if len(spec.Ports) == 0 || slices.Contains(spec.Ports, v1alpha1.PortHTTPS) {
		backends = routetable.Backends(spec.Backends, clusters)
	}
	for _, port := range spec.Ports {
		backends = append(backends, routetable.PortBackends(port, spec.Backends, clusters)...)
	}
	return backends
}

// total converts a number to the API's type.
func total(n int) int32 {
	return int32(min(n, math.MaxInt32)) //nolint:gosec // G115: it is in range
}

// readyCondition returns the Ready condition. For a refused host it has the reason of the
// Accepted condition.
func readyCondition(eh *v1alpha1.ExposedHost, accepted metav1.Condition, endpoints []string, clusters map[string]*v1alpha1.MemberCluster) metav1.Condition {
	ready := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse}
	switch {
	case accepted.Status != metav1.ConditionTrue:
		ready.Reason, ready.Message = accepted.Reason, accepted.Message
	case len(endpoints) > 0:
		ready.Status, ready.Reason = metav1.ConditionTrue, reason.Ready
		ready.Message = message.Format("usher forwards connections to %s", strings.Join(endpoints, ", "))
	default:
		ready.Reason, ready.Message = withoutEndpoint(eh, clusters)
	}
	return ready
}

// withPorts adds to an accepted host's Ready condition the ports on which the host is not
// served: those that no backend has, and those that the edge does not listen on. edgePorts
// are the names of the edge's ports other than https; nil if they are not known.
func withPorts(ready metav1.Condition, spec v1alpha1.ExposedHostSpec, clusters map[string]*v1alpha1.MemberCluster, edgePorts []string) metav1.Condition {
	if ready.Status != metav1.ConditionTrue {
		return ready
	}
	if missing := routetable.MissingPorts(spec, clusters); len(missing) > 0 {
		ready.Message = message.Format("%s; %s", ready.Message, missingPorts(missing))
	}
	if closed := closedPorts(spec, edgePorts); len(closed) > 0 {
		said := message.Format("usher does not listen on port %s: add --tls-listen, or correct the name", strings.Join(closed, ", "))
		ready.Message = message.Format("%s; %s", ready.Message, said)
		if len(servedPorts(spec, clusters, edgePorts)) == 0 {
			ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, reason.PortUnknown, said
		}
	}
	return ready
}

func missingPorts(names []string) string {
	return message.Format("no backend has port %s: add it to spec.ingress.ports of the MemberCluster, or to ports of the address", strings.Join(names, ", "))
}

// closedPorts returns the ports of a host that the edge is known not to listen on.
func closedPorts(spec v1alpha1.ExposedHostSpec, edgePorts []string) []string {
	if edgePorts == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(spec.Ports), func(port string) bool {
		return port == v1alpha1.PortHTTPS || slices.Contains(edgePorts, port)
	})
}

// servedPorts returns those of spec.ports on which the host is served.
func servedPorts(spec v1alpha1.ExposedHostSpec, clusters map[string]*v1alpha1.MemberCluster, edgePorts []string) []string {
	not := append(routetable.MissingPorts(spec, clusters), closedPorts(spec, edgePorts)...)
	return slices.DeleteFunc(slices.Clone(spec.Ports), func(port string) bool { return slices.Contains(not, port) })
}

// withoutEndpoint returns why an accepted host has no endpoint.
func withoutEndpoint(eh *v1alpha1.ExposedHost, clusters map[string]*v1alpha1.MemberCluster) (why, said string) {
	why = routetable.Unserved(eh.Spec.Backends, clusters)
	if missing := routetable.MissingPorts(eh.Spec, clusters); len(missing) > 0 && len(routetable.Backends(eh.Spec.Backends, clusters)) > 0 {
		return reason.PortUnknown, missingPorts(missing)
	}
	switch why {
	case reason.NoBackend:
		return why, "spec.backends is empty; name a cluster or an address"
	case reason.NoWeight:
		return why, message.Format("all backends have the weight 0, so that none gets connections: set another one with the annotation %s of a source, or in spec.backends of a manually written host", v1alpha1.AnnotationWeight)
	}
	name := eh.Spec.Backends[0].Cluster
	if why == reason.UnknownCluster {
		return why, message.Format("spec.backends[0].cluster: there is no MemberCluster %s; create it, or correct the name", name)
	}
	if gateway := eh.Spec.Backends[0].Gateway; gateway != "" {
		return why, withoutGateway(clusters[name], gateway)
	}
	if refusal := addressRefusal(clusters[name]); refusal != "" {
		return why, message.Format("MemberCluster %s: %s", name, refusal)
	}
	return why, message.Format("MemberCluster %s has no ingress address; set its spec.ingress.addresses, or give its Service a load-balancer address", name)
}

// withoutGateway returns why the Gateway of a cluster that a host is led to has no endpoint.
func withoutGateway(mc *v1alpha1.MemberCluster, gateway string) string {
	switch known := routetable.GatewayOf(mc, gateway); {
	case !mc.Spec.Ingress.Gateways:
		return message.Format("MemberCluster %s: spec.ingress.gateways is not set, so no host is led to Gateway %s", mc.Name, gateway)
	case known == nil:
		return message.Format("MemberCluster %s has no address for Gateway %s; see its status.gateways", mc.Name, gateway)
	default:
		return message.Format("MemberCluster %s: Gateway %s: %s", mc.Name, gateway, cmp.Or(known.Refusal, "its addresses may not be used"))
	}
}

// summary returns the short form of a status for kubectl's columns.
func summary(eh *v1alpha1.ExposedHost, decision admission.Decision, status v1alpha1.ExposedHostStatus) v1alpha1.Summary {
	s := v1alpha1.Summary{Cluster: firstOf(decision.Cluster, total(len(decision.Backends))), Backend: firstAndMore(status.Backends)}
	if len(status.Sources) > 0 {
		s.Source = firstOf(sourceName(status.Sources[0]), status.SourcesTotal)
	}
	if isManual(eh) {
		s.Source = "by hand"
		if len(eh.Spec.Backends) > 0 {
			s.Cluster = eh.Spec.Backends[0].Cluster
		}
	}
	if len(status.Rivals) > 0 {
		s.Rivals = firstOf(status.Rivals[0].Cluster+":"+sourceName(status.Rivals[0].SourceRef), status.RivalsTotal)
	}
	return s
}

// keptSources is at least how many sources, and how many rivals, a status lists. The
// limit keeps the status small enough to be written, however many objects there are.
const keptSources = 10

// kept returns the first sources or rivals, and at least the first one of each cluster: the
// index finds the ExposedHosts of a removed cluster by them.
func kept[T any](all []T, cluster func(T) string) []T {
	if len(all) <= keptSources {
		return all
	}
	first := slices.Clone(all[:keptSources])
	listed := map[string]bool{} // cluster → true
	for _, one := range first {
		listed[cluster(one)] = true
	}
	for _, one := range all[keptSources:] {
		if name := cluster(one); !listed[name] {
			listed[name] = true
			first = append(first, one)
		}
	}
	return first
}

// sourceName formats a source as Kind/namespace/name.
func sourceName(ref v1alpha1.SourceRef) string {
	return ref.Kind + "/" + ref.Namespace + "/" + ref.Name
}

// firstAndMore formats the first name and how many more there are.
func firstAndMore(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return firstOf(names[0], total(len(names)))
}

// firstOf formats the first name and how many more there are of total.
func firstOf(name string, total int32) string {
	if total <= 1 {
		return name
	}
	return fmt.Sprintf("%s +%d", name, total-1)
}

// recordEvents records Events and log lines for what has changed: the decision, the
// cluster that holds the host, sources that disagree, refused ports, new rivals, and
// claims that are refused under a wildcard.
func (r *ExposedHostReconciler) recordEvents(ctx context.Context, before, after *v1alpha1.ExposedHost, decision admission.Decision) {
	was, is := findCondition(before, v1alpha1.ConditionAccepted), findCondition(after, v1alpha1.ConditionAccepted)
	if was == nil || was.Status != is.Status || was.Reason != is.Reason {
		kind := corev1.EventTypeNormal
		if !decision.Accepted {
			kind = corev1.EventTypeWarning
		}
		r.Events.Eventf(after, nil, kind, is.Reason, "Decide", "%s%s", is.Message, annotatedBy(after.Status.RequestedBy))
		log.FromContext(ctx).Info("Decided about host", "accepted", decision.Accepted, "reason", is.Reason, "cluster", decision.Cluster)
	}
	r.recordBackends(before, after, decision)
	if len(decision.Differences) > 0 && (was == nil || was.Message != is.Message) {
		r.Events.Eventf(after, nil, corev1.EventTypeWarning, reason.OptionsDiffer, "Decide", "%s", is.Message)
	}
	if len(decision.RefusedPorts) > 0 && (was == nil || was.Message != is.Message) {
		r.Events.Eventf(after, nil, corev1.EventTypeWarning, decision.RefusedPorts[0].First.Reason, "Decide", "%s", is.Message)
	}
	for _, rival := range after.Status.Rivals {
		if before == nil || !slices.Contains(before.Status.Rivals, rival) {
			r.Events.Eventf(after, nil, corev1.EventTypeWarning, rival.Reason, "Decide", "%s of cluster %s may not publish this host: %s", sourceName(rival.SourceRef), rival.Cluster, saysWhy(rival, decision))
		}
	}
	for _, name := range after.Status.Below {
		if name.Reason == reason.UnderWildcard && (before == nil || !slices.Contains(before.Status.Below, name)) {
			r.Events.Eventf(after, nil, corev1.EventTypeWarning, name.Reason, "Decide", "%s of cluster %s may not publish %s, a name under this wildcard: %s", sourceName(name.SourceRef), name.Cluster, name.Host, name.Reason)
		}
	}
}

// annotatedBy says who annotated an object; "" if that is not known.
func annotatedBy(by *v1alpha1.RequestedBy) string {
	if by == nil || by.Manager == "" {
		return ""
	}
	return message.Format("; annotated by %q, version %s", by.Manager, by.ResourceVersion)
}

// lastRequestedBy says by whose annotation a withdrawn host was exposed.
func lastRequestedBy(eh *v1alpha1.ExposedHost) string {
	by := eh.Status.RequestedBy
	if by == nil {
		return ""
	}
	return message.Format("; it was exposed by %s of cluster %s%s", sourceName(by.SourceRef), by.Cluster, annotatedBy(by))
}

// findCondition returns a condition of an ExposedHost, or nil.
func findCondition(eh *v1alpha1.ExposedHost, kind string) *metav1.Condition {
	if eh == nil {
		return nil
	}
	return meta.FindStatusCondition(eh.Status.Conditions, kind)
}
