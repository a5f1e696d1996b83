package enroll

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
)

const (
	readyInterval = 250 * time.Millisecond
	// quietAfter is how long usher may take to notice a MemberCluster before a
	// person is told that it may not run.
	quietAfter = 10 * time.Second
)

// errNotReady marks a member that was not read in time.
var errNotReady = errors.New("is not ready")

// passSecond waits until a reading of the member from now on will differ in its time, which
// has whole seconds, from the one that the MemberCluster had.
func (e *enrolment) passSecond(ctx context.Context) {
	if e.before.IsZero() {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Until(e.seen.Add(time.Second))):
	}
}

// awaitReady waits until usher has read the member by what was written, and tells what it waits for.
func (e *enrolment) awaitReady(ctx context.Context) error {
	e.say("waiting for usher to read %s", e.Name)
	started, told, hinted := time.Now(), "", false
	var mc v1alpha1.MemberCluster
	var failure error
	err := wait.PollUntilContextCancel(ctx, readyInterval, true, func(ctx context.Context) (bool, error) {
		if failure = e.edge.client.Get(ctx, client.ObjectKey{Name: e.Name}, &mc); failure != nil {
			return false, nil
		}
		if e.isRead(&mc) {
			return true, nil
		}
		if now := e.waitingFor(&mc); now != told {
			e.say("  %s", now)
			told = now
		}
		if !hinted && !e.isNoticed(&mc) && time.Since(started) > quietAfter {
			e.say("  %s", e.notRunning())
			hinted = true
		}
		return false, nil
	})
	if err == nil {
		e.say("%s is ready: Kubernetes %s, ingress %v", e.Name, mc.Status.KubernetesVersion, mc.Status.Ingress.Addresses)
		return nil
	}
	return fmt.Errorf("%s %w after %v: %s", e.Name, errNotReady, e.Timeout, e.whyNot(&mc, failure))
}

// isRead reports whether usher has read the member since it was written: what Ready says may
// still be of the connection before, the time of reading is not.
func (e *enrolment) isRead(mc *v1alpha1.MemberCluster) bool {
	ready := readyOf(mc)
	return ready != nil && ready.Status == metav1.ConditionTrue && e.isNoticed(mc) &&
		mc.Status.LastSyncTime != nil && !mc.Status.LastSyncTime.Equal(&e.before)
}

// isNoticed reports whether usher has seen the MemberCluster as it is.
func (e *enrolment) isNoticed(mc *v1alpha1.MemberCluster) bool {
	ready := readyOf(mc)
	return ready != nil && ready.ObservedGeneration >= mc.Generation
}

// waitingFor says how far usher is.
func (e *enrolment) waitingFor(mc *v1alpha1.MemberCluster) string {
	ready := readyOf(mc)
	switch {
	case ready == nil:
		return "usher has not noticed it yet"
	case ready.Status == metav1.ConditionTrue:
		return "usher still uses the former token"
	}
	return ready.Reason + ": " + ready.Message
}

// whyNot says why a member is not ready, with all that a person can do about it.
func (e *enrolment) whyNot(mc *v1alpha1.MemberCluster, failure error) string {
	switch ready := readyOf(mc); {
	case failure != nil:
		return e.edge.failed("read MemberCluster", failure).Error()
	case !e.isNoticed(mc) || ready.Status == metav1.ConditionTrue:
		return e.notRunning()
	case isLoopback(e.server):
		return e.waitingFor(mc) + "; " + e.loopbackAdvice()
	}
	return e.waitingFor(mc)
}

// notRunning says that nothing happens at the edge.
func (e *enrolment) notRunning() string {
	return fmt.Sprintf("usher does not seem to run at the edge: see kubectl --context %s --namespace %s get pods", e.edge.context, e.Namespace)
}

func readyOf(mc *v1alpha1.MemberCluster) *metav1.Condition {
	return meta.FindStatusCondition(mc.Status.Conditions, v1alpha1.ConditionReady)
}
