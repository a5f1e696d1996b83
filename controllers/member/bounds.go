package member

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"mime"
	"net/http"
	"reflect"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// What usher takes from one member, whatever its API server sends. A former
// session may hold as much again until a new one has read everything.
const (
	// maxAnswer bounds an answer, in bytes: a page of a list, or an event of a watch.
	// etcd takes objects of 1.5 MiB, which are longer as JSON.
	maxAnswer = 8 << 20
	// maxHeld bounds what is kept of all objects, in bytes as sizeOf estimates them:
	// some 60,000 Ingresses.
	maxHeld = 64 << 20
	// A member's watches together are read at so many bytes a second, after so many at
	// once: to decode them takes the processor from the other members.
	watchRate  = 4 << 20
	watchBurst = 32 << 20
)

// Why an answer is not taken.
var (
	errTooLarge  = errors.New("more than usher accepts from a member")
	errElsewhere = errors.New("the API server redirects the edge")
)

// boundedTransport bounds the answers of an API server. It takes JSON only, whose
// events it can tell apart, and follows no redirect: a member must not choose what
// the edge asks.
type boundedTransport struct {
	http.RoundTripper
	exceeded func(error)   // by an event: a watch's reader tells nobody why it ended
	watches  *rate.Limiter // of bytes
}

// RoundTrip implements http.RoundTripper.
func (t *boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if location := response.Header.Get("Location"); response.StatusCode/100 == 3 && location != "" {
		response.Body.Close()
		return nil, fmt.Errorf("%w, to %.64q", errElsewhere, location)
	}
	if r.URL.Query().Get("watch") == "" || response.StatusCode != http.StatusOK {
		response.Body = &boundedAnswer{ReadCloser: response.Body, left: maxAnswer}
		return response, nil
	}
	if kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); kind != "application/json" {
		response.Body.Close()
		return nil, fmt.Errorf("the API server answers a watch with %.64q instead of JSON", kind)
	}
	response.Body = &boundedEvents{ReadCloser: response.Body, ctx: r.Context(), rate: t.watches, exceeded: t.exceeded}
	return response, nil
}

// WrappedRoundTripper lets idle connections be closed.
func (t *boundedTransport) WrappedRoundTripper() http.RoundTripper { return t.RoundTripper }

// boundedAnswer is a body of at most left bytes.
type boundedAnswer struct {
	io.ReadCloser
	left int
}

// Read implements io.Reader.
func (b *boundedAnswer) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	if n > b.left {
		return 0, fmt.Errorf("%w: an answer of more than %d MiB", errTooLarge, maxAnswer>>20)
	}
	b.left -= n
	return n, err
}

// boundedEvents is a body of JSON objects of at most maxAnswer bytes each, read no
// faster than rate allows.
type boundedEvents struct {
	io.ReadCloser
	ctx      context.Context // of the request
	rate     *rate.Limiter   // of bytes
	exceeded func(error)

	length, depth    int // of the object that is being read
	quoted, escaping bool
}

// Read implements io.Reader.
func (b *boundedEvents) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), watchBurst)])
	if limited := b.rate.WaitN(b.ctx, n); limited != nil {
		return 0, limited
	}
	for _, c := range p[:n] {
		if b.length++; b.length > maxAnswer {
			err := fmt.Errorf("%w: an event of more than %d MiB", errTooLarge, maxAnswer>>20)
			b.exceeded(err)
			return 0, err
		}
		b.follow(c)
	}
	return n, err
}

// follow notes where an object ends. What is no JSON only grows.
func (b *boundedEvents) follow(c byte) {
	switch {
	case b.escaping:
		b.escaping = false
	case b.quoted:
		b.escaping, b.quoted = c == '\\', c != '"'
	case c == '"':
		b.quoted = true
	case c == '{':
		b.depth++
	case c == '}':
		if b.depth--; b.depth == 0 {
			b.length = 0
		}
	}
}

// holdings counts what a session keeps of a member's objects.
type holdings struct {
	exceeded func(error)

	mu    sync.Mutex
	seed  maphash.Seed
	sizes map[uint64]int // hash of kind, namespace and name → bytes
	total int
}

func newHoldings(exceeded func(error)) *holdings {
	return &holdings{exceeded: exceeded, seed: maphash.MakeSeed(), sizes: map[uint64]int{}}
}

// keep counts an object in the place of its former state, and fails where all that
// is kept is too much.
func (h *holdings) keep(kind schema.GroupVersionKind, o client.Object) error {
	key, size := h.key(kind, o), sizeOf(o)
	h.mu.Lock()
	more := size - h.sizes[key]
	h.sizes[key] = size
	h.mu.Unlock()
	return h.grow(more)
}

// grow counts so many bytes more, and fails where all that is kept is too much.
func (h *holdings) grow(bytes int) error {
	h.mu.Lock()
	h.total += bytes
	total, objects := h.total, len(h.sizes)
	h.mu.Unlock()
	if total <= maxHeld {
		return nil
	}
	err := fmt.Errorf("%w: %d MiB of objects, %d of them", errTooLarge, maxHeld>>20, objects)
	h.exceeded(err)
	return err
}

// drop counts an object no more.
func (h *holdings) drop(kind schema.GroupVersionKind, o client.Object) {
	key := h.key(kind, o)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.total -= h.sizes[key]
	delete(h.sizes, key)
}

func (h *holdings) key(kind schema.GroupVersionKind, o client.Object) uint64 {
	return maphash.Comparable(h.seed, [4]string{kind.Group, kind.Kind, o.GetNamespace(), o.GetName()})
}

// perObject is what an object takes besides what its fields refer to: in the
// cache, in its indexes, and here.
const perObject = 256

// sizeOf estimates the memory that an object takes, in bytes.
func sizeOf(o client.Object) int {
	v := reflect.ValueOf(o).Elem()
	return perObject + int(v.Type().Size()) + referred(v)
}

// location is what times refer to. All share it, and package time may still be
// making it.
var location = reflect.TypeFor[*time.Location]()

// referred estimates what a value refers to.
func referred(v reflect.Value) int {
	size := 0
	if v.Type() == location {
		return size
	}
	switch v.Kind() {
	case reflect.String:
		return v.Len()
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			size = int(v.Elem().Type().Size()) + referred(v.Elem())
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			size += referred(field)
		}
	case reflect.Slice:
		size = v.Cap() * int(v.Type().Elem().Size())
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return size
		}
		for i := range v.Len() {
			size += referred(v.Index(i))
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			size += 2*int(v.Type().Key().Size()+v.Type().Elem().Size()) + referred(entries.Key()) + referred(entries.Value())
		}
	}
	return size
}
