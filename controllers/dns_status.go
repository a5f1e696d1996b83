package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/dnsrecord"
	"github.com/jovalle/usher/controllers/message"
)

// dnsState is what a reconciliation of a host's DNS records has found.
type dnsState struct {
	wanted  []dnsrecord.Records // of each view
	names   []string            // of the DNSEndpoints
	unread  []string            // of those that external-dns has not read
	problem metav1.Condition    // why there is no DNSEndpoint; empty if there is none
	check   *dnsResult          // what the resolver said; nil without a resolver
	again   time.Duration       // until the next attempt; 0 for the next event
}

// fail notes the first problem.
func (s *dnsState) fail(why, format string, args ...any) {
	if s.problem.Reason == "" {
		s.problem = metav1.Condition{Reason: why, Message: message.Format(format, args...)}
	}
}

// itself notes that no record is possible.
func (s *dnsState) itself(err error) {
	s.fail(reason.DNSTargetItself, "%v; give the addresses of the edge as the target, or annotate the sources with %s: \"false\"", err, v1alpha1.AnnotationDNS)
}

// unavailable notes that the records of a view cannot be written.
func (s *dnsState) unavailable(wanted dnsrecord.Records, why string) {
	if len(wanted.Sets) > 0 {
		s.fail(reason.DNSEndpointsUnavailable, "%s", why)
	}
}

// taken notes that another DNSEndpoint has the name.
func (s *dnsState) taken(namespace, name string) {
	s.fail(reason.DNSNameTaken, "DNSEndpoint %s/%s exists, and usher has not written it: %v; delete or rename it", namespace, name, errNotOwn)
	s.again = dnsAgain
}

// written notes a DNSEndpoint that is as it should be.
func (s *dnsState) written(endpoint *unstructured.Unstructured) {
	s.names = append(s.names, endpoint.GetName())
	read, _, _ := unstructured.NestedInt64(endpoint.Object, "status", "observedGeneration")
	if read != endpoint.GetGeneration() {
		s.unread = append(s.unread, endpoint.GetName())
	}
}

// note tells the checks which public records are to be seen, and takes their result.
func (s *dnsState) note(checks *dnsChecks, name string) {
	public := s.wanted[slices.Index(dnsrecord.Views, v1alpha1.DNSPublic)]
	if s.problem.Reason != "" || len(public.Sets) == 0 {
		checks.forget(name)
		return
	}
	s.check = checks.want(name, public)
}

// records returns the wanted records as a status lists them.
func (s *dnsState) records() []v1alpha1.DNSRecord {
	var all []v1alpha1.DNSRecord
	for _, records := range s.wanted {
		all = append(all, records.Status()...)
	}
	return all
}

// condition returns the DNSReady condition; nil if no records are wanted.
func (s *dnsState) condition(eh *v1alpha1.ExposedHost) *metav1.Condition {
	is := &metav1.Condition{Type: v1alpha1.ConditionDNSReady, Status: metav1.ConditionFalse}
	said := "DNSEndpoint " + strings.Join(s.names, ", ")
	switch {
	case s.problem.Reason != "":
		is.Reason, is.Message = s.problem.Reason, s.problem.Message
	case len(s.names) == 0:
		return nil
	case s.check != nil && s.check.seen():
		is.Status, is.Reason, is.Message = metav1.ConditionTrue, reason.DNSResolved, message.Format("the resolver answers as wanted by %s", said)
	case len(s.unread) > 0:
		is.Status, is.Reason = metav1.ConditionUnknown, reason.DNSPending
		is.Message = message.Format("external-dns has not read DNSEndpoint %s", strings.Join(s.unread, ", "))
	case s.check == nil:
		is.Status, is.Reason, is.Message = metav1.ConditionTrue, reason.DNSPublished, message.Format("external-dns has read %s", said)
	case !s.check.done && s.checked(eh):
		return findCondition(eh, v1alpha1.ConditionDNSReady)
	case s.check.drift != "":
		is.Reason, is.Message = reason.DNSDrift, s.check.drift
	default:
		is.Status, is.Reason = metav1.ConditionUnknown, reason.DNSUnchecked
		is.Message = message.Format("%s", s.check.unchecked())
	}
	return is
}

// checked reports whether the condition of an ExposedHost is the result of an earlier check
// of the same records, which a restart must not forget.
func (s *dnsState) checked(eh *v1alpha1.ExposedHost) bool {
	was := findCondition(eh, v1alpha1.ConditionDNSReady)
	return was != nil && slices.Contains([]string{reason.DNSResolved, reason.DNSDrift, reason.DNSUnchecked}, was.Reason) &&
		equality.Semantic.DeepEqual(eh.Status.DNS, s.records())
}

// report writes status.dns and the DNSReady condition, if they differ. It fails if the
// object has changed since it was read: the conditions are one list, which the reconciler
// of ExposedHosts writes too.
func (r *DNSReconciler) report(ctx context.Context, eh *v1alpha1.ExposedHost, is dnsState) error {
	after := eh.DeepCopy()
	after.Status.DNS = is.records()
	if condition := is.condition(eh); condition == nil {
		meta.RemoveStatusCondition(&after.Status.Conditions, v1alpha1.ConditionDNSReady)
	} else {
		setConditions(&after.Status.Conditions, eh.Generation, *condition)
	}
	if equality.Semantic.DeepEqual(eh.Status, after.Status) {
		return nil
	}
	unchanged := client.MergeFromWithOptions(eh, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Status().Patch(ctx, after, unchanged); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("patch status.dns of ExposedHost %s: %w", eh.Name, err))
	}
	return nil
}
