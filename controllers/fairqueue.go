package controllers

import (
	"sync"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// fairQueue orders the requests of a controller: it takes one of each share in turn, so
// that many requests of one member do not delay those of others. A request of several
// shares is taken in the turn of the first.
type fairQueue struct {
	mu     sync.Mutex
	marked map[reconcile.Request]string // request that is about to be added → its share

	queued map[reconcile.Request]bool // request → true
	shares map[string]*fairShare
	turns  []*fairShare // those with requests, the next one first
}

// fairShare has the requests of one member, or another group of requests.
type fairShare struct {
	name     string
	requests []reconcile.Request // the oldest first; some may no longer be queued
	listed   map[reconcile.Request]bool
}

func newFairQueue() *fairQueue {
	return &fairQueue{marked: map[reconcile.Request]string{}, queued: map[reconcile.Request]bool{}, shares: map[string]*fairShare{}}
}

// newQueue makes a controller's queue with the order of f.
func (f *fairQueue) newQueue(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	return workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[reconcile.Request]{
		DelayingQueue: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[reconcile.Request]{
			Name: name,
			Queue: workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[reconcile.Request]{
				Name: name, Queue: f,
			}),
		}),
	})
}

// add adds requests of a share to the queue.
func (f *fairQueue) add(queue workqueue.TypedRateLimitingInterface[reconcile.Request], share string, requests ...reconcile.Request) {
	for _, request := range requests {
		f.mu.Lock()
		f.marked[request] = share
		f.mu.Unlock()
		queue.Add(request)
	}
}

// Push implements workqueue.Queue. Requests that add did not mark, such as retries, form
// a share of their own.
func (f *fairQueue) Push(request reconcile.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queued[request] = true
	f.list(request)
}

// Touch implements workqueue.Queue. The request may now belong to another share too.
func (f *fairQueue) Touch(request reconcile.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list(request)
}

func (f *fairQueue) list(request reconcile.Request) {
	name := f.marked[request]
	delete(f.marked, request)
	s := f.shares[name]
	if s == nil {
		s = &fairShare{name: name, listed: map[reconcile.Request]bool{}}
		f.shares[name] = s
		f.turns = append(f.turns, s)
	}
	if !s.listed[request] {
		s.listed[request] = true
		s.requests = append(s.requests, request)
	}
}

// Len implements workqueue.Queue.
func (f *fairQueue) Len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.queued)
}

// Pop implements workqueue.Queue. It must be called only if Len is not 0.
func (f *fairQueue) Pop() reconcile.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		s := f.turns[0]
		request := s.requests[0]
		s.requests = s.requests[1:]
		delete(s.listed, request)
		f.turns = f.turns[1:]
		if len(s.requests) > 0 {
			f.turns = append(f.turns, s)
		} else {
			delete(f.shares, s.name)
		}
		if f.queued[request] {
			delete(f.queued, request)
			return request
		}
	}
}
