package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/jovalle/usher/controllers/message"
)

// setConditions sets conditions with their observed generation in a status.
func setConditions(status *[]metav1.Condition, generation int64, conditions ...metav1.Condition) {
	for _, condition := range conditions {
		condition.ObservedGeneration = generation
		condition.Message = message.Bound(condition.Message)
		meta.SetStatusCondition(status, condition)
	}
}

// requeue returns the result of a Reconcile: the time until the next call, or only the
// error, since controller-runtime ignores the time if there is an error.
func requeue(after time.Duration, err error) (reconcile.Result, error) {
	if err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: after}, nil
}

// writeStatus patches the differences between the statuses of before and after. A deleted
// object is not an error. If the API server will never accept the status, writeStatus
// calls least, which reduces after, and writes the rest. If that is refused too, it is
// not retried.
func writeStatus(ctx context.Context, c client.Client, before, after client.Object, least func()) error {
	gvk, err := apiutil.GVKForObject(after, c.Scheme())
	if err != nil {
		return fmt.Errorf("write a status: %w", err)
	}
	if err = c.Status().Patch(ctx, after, client.MergeFrom(before)); neverTaken(err) {
		log.FromContext(ctx).Error(errors.New(message.Of(err)), "Writing a part of the status: the API server does not accept all of it", "kind", gvk.Kind, "name", before.GetName())
		least()
		err = c.Status().Patch(ctx, after, client.MergeFrom(before))
	}
	if err = client.IgnoreNotFound(err); err == nil {
		return nil
	}
	wrapped := fmt.Errorf("patch status of %s %s: %w", gvk.Kind, before.GetName(), err)
	if neverTaken(err) {
		return reconcile.TerminalError(wrapped)
	}
	return wrapped
}

// neverTaken reports whether the API server would refuse the same write each time: the
// object is invalid, or too large for the API server or for etcd. The API server returns
// etcd's errors as its own.
func neverTaken(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsRequestEntityTooLargeError(err) ||
		err != nil && (strings.Contains(err.Error(), "etcdserver: request is too large") ||
			strings.Contains(err.Error(), "trying to send message larger than max"))
}

// recorder limits the length of Events' notes.
type recorder struct{ events.EventRecorder }

// Eventf implements events.EventRecorder.
func (r recorder) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	r.EventRecorder.Eventf(regarding, related, kind, reason, action, "%s", message.Bound(fmt.Sprintf(note, args...)))
}
