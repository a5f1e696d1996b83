package informer

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/watch"
)

// silence is how long a watch may bring nothing. Where anything has changed since
// it began, an API server sends a bookmark each minute, by a timer of up to 1.25 s
// (defaultBookmarkFrequency and dispatchEvents in k8s.io/apiserver's
// pkg/storage/cacher). Where nothing has, or there is no watch cache, it may send
// none: a watch is then renewed for nothing, which costs one small request.
const silence = 90 * time.Second

// attended is a watch that ends when it has been silent, as one does whose events
// are lost on the way while its connection lives. The reflector then watches on
// from the last event that it saw.
type attended struct {
	source watch.Interface
	events chan watch.Event
	once   sync.Once
	ended  chan struct{} // closed by Stop
}

// attend relays a watch until Stop, its own end, or so long a silence.
func attend(source watch.Interface, silence time.Duration) watch.Interface {
	a := &attended{source: source, events: make(chan watch.Event), ended: make(chan struct{})}
	go a.relay(silence)
	return a
}

// ResultChan implements watch.Interface.
func (a *attended) ResultChan() <-chan watch.Event { return a.events }

// Stop implements watch.Interface.
func (a *attended) Stop() { a.once.Do(func() { close(a.ended) }) }

func (a *attended) relay(silence time.Duration) {
	defer a.source.Stop() // last: it may have to wait for a connection
	defer close(a.events)
	timer := time.NewTimer(silence)
	defer timer.Stop()
	for {
		select {
		case <-a.ended:
			return
		case <-timer.C:
			return
		case event, ok := <-a.source.ResultChan():
			if !ok || !a.pass(event) {
				return
			}
			timer.Reset(silence)
		}
	}
}

// pass hands an event on, and reports whether anybody took it.
func (a *attended) pass(event watch.Event) bool {
	select {
	case a.events <- event:
		return true
	case <-a.ended:
		return false
	}
}
