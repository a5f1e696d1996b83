package enroll

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
)

const (
	readyInterval = 250 * time.Millisecond
	// noticeTimeout is how long usher may take to notice a MemberCluster before the
	// person is warned that usher may not run.
	noticeTimeout = 10 * time.Second
)

// errNotReady marks a member that usher did not read in time. errReplaced marks a Secret that has
// another kubeconfig than the one that was written.
var (
	errNotReady = errors.New("is not ready")
	errReplaced = errors.New("was overwritten")
)

// awaitReady waits until usher has read the member with the kubeconfig that was written, and
// reports what it waits for. It fails at once if the Secret has another kubeconfig.
func (e *enrolment) awaitReady(ctx context.Context, kubeconfig []byte) error {
	e.report("waiting for usher to read %s", e.Name)
	started, reported, hinted := time.Now(), "", false
	var mc v1alpha1.MemberCluster
	var failure error
	err := wait.PollUntilContextCancel(ctx, readyInterval, true, func(ctx context.Context) (bool, error) {
		written, err := e.written(ctx, kubeconfig)
		if errors.Is(err, errReplaced) {
			return false, err
		}
		if err == nil {
			err = e.edge.get(ctx, e.Name, "", &mc)
		}
		if ctx.Err() == nil || failure == nil && mc.Name == "" { // otherwise the end of ctx would hide the cause
			failure = err
		}
		if err != nil {
			return false, nil
		}
		if e.isRead(&mc, written) {
			return true, nil
		}
		if now := e.waitingFor(&mc); now != reported {
			e.report("  %s", now)
			reported = now
		}
		if !hinted && !e.isNoticed(&mc) && time.Since(started) > noticeTimeout {
			e.report("  %s", e.notRunning())
			hinted = true
		}
		return false, nil
	})
	switch {
	case err == nil:
		e.report("%s is ready: Kubernetes %s, ingress %v", e.Name, mc.Status.KubernetesVersion, mc.Status.Ingress.Addresses)
		return nil
	case errors.Is(err, errReplaced):
		return err
	}
	return fmt.Errorf("%s %w after %v: %s", e.Name, errNotReady, e.Timeout, e.whyNot(&mc, failure))
}

// written returns the current version of the Secret with the kubeconfig. Others may change the
// Secret, such as its labels. The error wraps errReplaced if they have changed the kubeconfig.
func (e *enrolment) written(ctx context.Context, kubeconfig []byte) (*v1alpha1.ObservedKubeconfig, error) {
	var secret corev1.Secret
	name := kubeconfigSecretName(e.Name)
	err := e.edge.get(ctx, name, e.Namespace, &secret)
	switch {
	case client.IgnoreNotFound(err) != nil:
		return nil, err
	case err != nil || !bytes.Equal(secret.Data[kubeconfigKey], kubeconfig):
		return nil, e.edge.failed("wait for usher", fmt.Errorf("the kubeconfig in Secret %s/%s %w; find out what else writes it, such as a GitOps controller", e.Namespace, name, errReplaced))
	}
	return &v1alpha1.ObservedKubeconfig{SecretUID: secret.UID, ResourceVersion: secret.ResourceVersion}, nil
}

// isRead reports whether usher has read the member with the written kubeconfig. The condition Ready
// is not enough: it may still be about the connection before.
func (e *enrolment) isRead(mc *v1alpha1.MemberCluster, written *v1alpha1.ObservedKubeconfig) bool {
	ready := readyOf(mc)
	return ready != nil && ready.Status == metav1.ConditionTrue && e.isNoticed(mc) &&
		mc.Status.Kubeconfig != nil && *mc.Status.Kubeconfig == *written
}

// isNoticed reports whether usher has observed the current generation of the MemberCluster.
func (e *enrolment) isNoticed(mc *v1alpha1.MemberCluster) bool {
	ready := readyOf(mc)
	return ready != nil && ready.ObservedGeneration >= mc.Generation
}

// waitingFor returns what usher has still to do.
func (e *enrolment) waitingFor(mc *v1alpha1.MemberCluster) string {
	ready := readyOf(mc)
	switch {
	case ready == nil:
		return "usher has not noticed it yet"
	case ready.Status == metav1.ConditionTrue:
		return "usher still uses the old token"
	}
	return ready.Reason + ": " + ready.Message
}

// whyNot returns why a member is not ready, and what a person can do about it.
func (e *enrolment) whyNot(mc *v1alpha1.MemberCluster, failure error) string {
	switch ready := readyOf(mc); {
	case failure != nil:
		return failure.Error()
	case !e.isNoticed(mc) || ready.Status == metav1.ConditionTrue:
		return e.notRunning()
	case isLoopback(e.server):
		return e.waitingFor(mc) + "; " + e.loopbackAdvice()
	}
	return e.waitingFor(mc)
}

// notRunning returns a hint that usher may not run in the edge cluster.
func (e *enrolment) notRunning() string {
	return fmt.Sprintf("usher does not seem to run at the edge: see kubectl --context %s --namespace %s get pods", e.edge.context, e.Namespace)
}

func readyOf(mc *v1alpha1.MemberCluster) *metav1.Condition {
	return meta.FindStatusCondition(mc.Status.Conditions, v1alpha1.ConditionReady)
}
