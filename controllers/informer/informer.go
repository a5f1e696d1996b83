// Package informer creates informers that retry soon and replace a silent watch. An
// informer of client-go waits up to a minute between two attempts, and that wait cannot
// be cancelled. If the events of a watch are lost on the network, it keeps the watch
// until its timeout, after 5 to 10 minutes. After an outage, changes would be received
// late.
//
// The package must not import anything of usher: the caches of the edge cluster and of
// the members both use it.
package informer

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"
)

// The pause between two attempts grows from retryFirst to retryCap, with a jitter of up
// to half of it.
const (
	retryFirst = 250 * time.Millisecond
	retryCap   = 3 * time.Second
)

// Func creates an informer. It is the type of NewInformer in controller-runtime's cache.Options.
type Func = func(toolscache.ListerWatcher, runtime.Object, time.Duration, toolscache.Indexers) toolscache.SharedIndexInformer

// New returns a Func. Unless it is nil, report is called with the result of each list
// request and of each start of a watch, and with an object of the kind.
func New(report func(kind runtime.Object, err error)) Func { return newFunc(report, silenceTimeout) }

func newFunc(report func(kind runtime.Object, err error), silence time.Duration) Func {
	return func(source toolscache.ListerWatcher, kind runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
		p := &retrying{source: toolscache.ToListerWatcherWithContext(source), silence: silence, report: func(err error) {
			if report != nil {
				report(kind, err)
			}
		}}
		return toolscache.NewSharedIndexInformer(&toolscache.ListWatch{ListWithContextFunc: p.list, WatchFuncWithContext: p.watch}, kind, resync, indexers)
	}
}

// retrying repeats list and watch requests that fail, unless the reflector must send
// another request instead.
type retrying struct {
	source  toolscache.ListerWatcherWithContext
	silence time.Duration // after which a watch ends
	report  func(error)
}

func (p *retrying) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	return retry(ctx, p.report, func() (runtime.Object, error) { return p.source.ListWithContext(ctx, options) })
}

func (p *retrying) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	w, err := retry(ctx, p.report, func() (watch.Interface, error) { return p.source.WatchWithContext(ctx, options) })
	if err != nil || !options.AllowWatchBookmarks {
		return w, err
	}
	return endWhenSilent(w, p.silence), nil
}

// retry repeats try until it succeeds, ctx ends, or its error requires another request.
func retry[T any](ctx context.Context, report func(error), try func() (T, error)) (T, error) {
	var answer T
	backoff := wait.Backoff{Duration: retryFirst, Factor: 2, Jitter: 0.5, Steps: 5, Cap: retryCap}
	err := backoff.DelayFunc().Until(ctx, true, true, func(context.Context) (done bool, err error) {
		answer, err = try()
		if ctx.Err() != nil || needsOtherRequest(err) {
			return true, err
		}
		report(err)
		return err == nil, nil
	})
	return answer, err
}

// needsOtherRequest reports whether the reflector must send another request: a list
// instead of a watch, or a plain list if the API server cannot stream one.
func needsOtherRequest(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) ||
		apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) ||
		apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}
