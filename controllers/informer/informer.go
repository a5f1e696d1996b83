// Package informer makes informers that ask again soon, and that notice a watch
// which has gone silent. Those of client-go wait up to a minute between two
// attempts, and that wait cannot be cancelled; a watch whose events are lost on the
// way they keep until it times out, after 5 to 10 minutes: after an outage, what has
// changed meanwhile would be heard late.
//
// It must not import anything of usher: the edge cluster's cache and the members'
// are made with it alike.
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

// The time between two attempts rises from the first to the second value, each
// plus up to half of it.
const (
	retryFirst = 250 * time.Millisecond
	retryCap   = 3 * time.Second
)

// Func makes an informer, as controller-runtime's cache.Options asks for it.
type Func = func(toolscache.ListerWatcher, runtime.Object, time.Duration, toolscache.Indexers) toolscache.SharedIndexInformer

// New returns a Func. Unless it is nil, asked is called with the outcome of each
// list and each start of a watch, and an object of the kind asked for.
func New(asked func(kind runtime.Object, err error)) Func { return newFunc(asked, silence) }

func newFunc(asked func(kind runtime.Object, err error), silence time.Duration) Func {
	return func(source toolscache.ListerWatcher, kind runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
		p := &persistent{source: toolscache.ToListerWatcherWithContext(source), silence: silence, asked: func(err error) {
			if asked != nil {
				asked(kind, err)
			}
		}}
		return toolscache.NewSharedIndexInformer(&toolscache.ListWatch{ListWithContextFunc: p.list, WatchFuncWithContext: p.watch}, kind, resync, indexers)
	}
}

// persistent repeats what fails until it succeeds, or until asking differently is called for.
type persistent struct {
	source  toolscache.ListerWatcherWithContext
	silence time.Duration // that ends a watch
	asked   func(error)
}

func (p *persistent) list(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	return persist(ctx, p.asked, func() (runtime.Object, error) { return p.source.ListWithContext(ctx, options) })
}

func (p *persistent) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	w, err := persist(ctx, p.asked, func() (watch.Interface, error) { return p.source.WatchWithContext(ctx, options) })
	if err != nil || !options.AllowWatchBookmarks {
		return w, err
	}
	return attend(w, p.silence), nil
}

// persist repeats try until it succeeds, ctx ends, or its error asks for another request.
func persist[T any](ctx context.Context, asked func(error), try func() (T, error)) (T, error) {
	var answer T
	backoff := wait.Backoff{Duration: retryFirst, Factor: 2, Jitter: 0.5, Steps: 5, Cap: retryCap}
	err := backoff.DelayFunc().Until(ctx, true, true, func(context.Context) (done bool, err error) {
		answer, err = try()
		if ctx.Err() != nil || asksDifferently(err) {
			return true, err
		}
		asked(err)
		return err == nil, nil
	})
	return answer, err
}

// asksDifferently reports whether the caller must change the request: list again
// instead of watching on, or list where the API server cannot stream a list.
func asksDifferently(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) ||
		apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) ||
		apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}
