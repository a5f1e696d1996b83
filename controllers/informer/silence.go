package informer

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/watch"
)

// silenceTimeout is how long a watch may deliver no event before it is renewed. If
// anything has changed since the watch began, an API server sends a bookmark each
// minute, by a timer of up to 1.25 s (defaultBookmarkFrequency and dispatchEvents in
// k8s.io/apiserver's pkg/storage/cacher). If nothing has changed, or if there is no
// watch cache, it may send none: the watch is then renewed needlessly, which costs one
// small request.
const silenceTimeout = 90 * time.Second

// silenceWatch is a watch that ends after a time without events. Its events may be lost
// although its connection is open. The reflector then starts a watch from the last event
// that it received.
type silenceWatch struct {
	source watch.Interface
	events chan watch.Event
	once   sync.Once
	ended  chan struct{} // closed by Stop
}

// endWhenSilent returns a watch with the events of source. It ends with Stop, with
// source, or when source has delivered no event for that time.
func endWhenSilent(source watch.Interface, silence time.Duration) watch.Interface {
	w := &silenceWatch{source: source, events: make(chan watch.Event), ended: make(chan struct{})}
	go w.relay(silence)
	return w
}

// ResultChan implements watch.Interface.
func (w *silenceWatch) ResultChan() <-chan watch.Event { return w.events }

// Stop implements watch.Interface.
func (w *silenceWatch) Stop() { w.once.Do(func() { close(w.ended) }) }

func (w *silenceWatch) relay(silence time.Duration) {
	defer w.source.Stop() // last, since it may block on the connection
	defer close(w.events)
	timer := time.NewTimer(silence)
	defer timer.Stop()
	for {
		select {
		case <-w.ended:
			return
		case <-timer.C:
			return
		case event, ok := <-w.source.ResultChan():
			if !ok || !w.pass(event) {
				return
			}
			timer.Reset(silence)
		}
	}
}

// pass delivers an event, and returns false if the watch was stopped instead.
func (w *silenceWatch) pass(event watch.Event) bool {
	select {
	case w.events <- event:
		return true
	case <-w.ended:
		return false
	}
}
