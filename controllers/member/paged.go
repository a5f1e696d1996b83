package member

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/jovalle/usher/controllers/informer"
)

// firstPage is the number of objects in a page of a list. It is reduced if a page
// exceeds maxAnswer.
const firstPage = 500

// newInformer makes the informer of a kind. It lists in pages, and trims and counts each
// page before it requests the next one: an API server without streaming lists would
// send all objects in one response.
func (s *session) newInformer(source toolscache.ListerWatcher, kind runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
	whole := toolscache.ToListerWatcherWithContext(source)
	paged := &toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return s.listPages(ctx, whole, options)
		},
		WatchFuncWithContext: whole.WatchWithContext,
	}
	made := informer.New(s.recordRequest)(paged, kind, resync, indexers)
	if gvk, err := apiutil.GVKForObject(kind, scheme); err == nil { // only kinds of the scheme are watched
		s.mu.Lock()
		s.stores[gvk] = made.GetStore()
		s.mu.Unlock()
	}
	return made
}

// listPages lists all objects of a kind, page by page. If a single object exceeds
// maxAnswer, it ends the session.
func (s *session) listPages(ctx context.Context, source toolscache.ListerWatcherWithContext, options metav1.ListOptions) (runtime.Object, error) {
	// With a resource version the API server would send all objects at once, from its cache.
	options.ResourceVersion, options.ResourceVersionMatch, options.Limit, options.Continue = "", "", firstPage, ""
	var list runtime.Object // the first page; it gets the objects of all pages
	var all []runtime.Object
	for {
		page, err := s.listPage(ctx, source, options)
		switch {
		case errors.Is(err, errTooLarge) && options.Limit > 1:
			options.Limit = max(1, options.Limit/8)
			continue
		case errors.Is(err, errTooLarge):
			s.exceed(err)
			return nil, err
		case err != nil:
			return nil, err
		}
		objects, err := meta.ExtractList(page)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			if _, err := s.trim(o); err != nil {
				return nil, err
			}
		}
		all = append(all, objects...)
		if list == nil {
			list = page
		}
		about, err := meta.ListAccessor(page)
		if err != nil {
			return nil, err
		}
		if options.Continue = about.GetContinue(); options.Continue == "" {
			return list, wholeList(list, all)
		}
	}
}

// listPage reads one page. The pages of other kinds wait, so that one untrimmed page at
// a time is in memory.
func (s *session) listPage(ctx context.Context, source toolscache.ListerWatcherWithContext, options metav1.ListOptions) (runtime.Object, error) {
	select {
	case s.listing <- struct{}{}:
		defer func() { <-s.listing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return source.ListWithContext(ctx, options)
}

// wholeList replaces the objects of the first page with those of all pages.
func wholeList(list runtime.Object, all []runtime.Object) error {
	about, err := meta.ListAccessor(list)
	if err != nil {
		return err
	}
	about.SetContinue("")
	about.SetRemainingItemCount(nil)
	return meta.SetList(list, all)
}

// trim prepares an object for the cache, and counts it.
func (s *session) trim(o any) (any, error) {
	trimmed := trim(o)
	if object, ok := trimmed.(client.Object); ok {
		gvk, err := apiutil.GVKForObject(object, scheme)
		if err != nil {
			return nil, err
		}
		if err := s.holdings.keep(gvk, object); err != nil {
			return nil, err
		}
		s.annotations.share(object)
	}
	return trimmed, nil
}

// exceed ends the session's connection, since the member sends too much. If the session
// serves, its claims stay in use.
func (s *session) exceed(err error) {
	s.ending.Do(func() {
		s.tooLarge = err
		close(s.exceeded)
		s.stop()
	})
}

// waitUnlessExceeded waits for d or until ctx ends. If exceed ends the session, it
// returns the error at once.
func (s *session) waitUnlessExceeded(ctx context.Context, d time.Duration) error {
	select {
	case <-s.exceeded:
		return s.tooLarge
	case <-ctx.Done():
	case <-time.After(d):
	}
	return nil
}
