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

// setConditions puts conditions, as observed at a generation, into a status.
func setConditions(status *[]metav1.Condition, generation int64, conditions ...metav1.Condition) {
	for _, condition := range conditions {
		condition.ObservedGeneration = generation
		condition.Message = message.Bound(condition.Message)
		meta.SetStatusCondition(status, condition)
	}
}

// requeue is what a Reconcile returns: after how long to be called again, or the error,
// with which controller-runtime takes no time.
func requeue(after time.Duration, err error) (reconcile.Result, error) {
	if err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: after}, nil
}

// writeStatus patches the status in which after differs from before; an object that
// is gone is no error. A status that the API server will never take is written
// without what least drops from after, so that the rest is known all the same. What
// is refused even then is not tried again.
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

// neverTaken reports whether the API server would refuse the same write each time:
// it is invalid, or too large for the API server or for etcd, whose errors the API
// server passes on as its own.
func neverTaken(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsRequestEntityTooLargeError(err) ||
		err != nil && (strings.Contains(err.Error(), "etcdserver: request is too large") ||
			strings.Contains(err.Error(), "trying to send message larger than max"))
}

// recorder bounds the notes of Events.
type recorder struct{ events.EventRecorder }

// Eventf implements events.EventRecorder.
func (r recorder) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	r.EventRecorder.Eventf(regarding, related, kind, reason, action, "%s", message.Bound(fmt.Sprintf(note, args...)))
}
