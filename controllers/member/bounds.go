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

// Limits on what usher accepts from the API server of one member. While a new session
// reads everything, the old one may keep the same amount again.
const (
	// maxAnswer bounds a response, in bytes: a page of a list, or an event of a watch.
	// etcd stores objects of up to 1.5 MiB, which are longer as JSON.
	maxAnswer = 8 << 20
	// maxHeld bounds the memory for all objects, in bytes as sizeOf estimates them: it
	// is enough for about 60,000 Ingresses.
	maxHeld = 64 << 20
	// All watches of a member together are read at most at watchRate bytes a second,
	// with a burst of watchBurst bytes: decoding takes CPU time from other members.
	watchRate  = 4 << 20
	watchBurst = 32 << 20
)

// Reasons to refuse a response.
var (
	errTooLarge = errors.New("more than usher accepts from a member")
	errRedirect = errors.New("the API server redirects the edge")
)

// boundedTransport bounds the responses of an API server. It accepts JSON watches only,
// since it must find where each event ends. It follows no redirect: a member must not
// choose the addresses that the edge connects to.
type boundedTransport struct {
	http.RoundTripper
	exceeded func(error)   // called for a too large event: client-go drops the error of a watch's body
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
		return nil, fmt.Errorf("%w, to %.64q", errRedirect, location)
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

// WrappedRoundTripper returns the inner transport, so that its idle connections can be
// closed.
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

// boundedEvents is a body of JSON objects. Each has at most maxAnswer bytes, and rate
// limits how fast they are read.
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

// follow resets the length where an object ends. In input that is not JSON the length
// only grows, so that it reaches the limit.
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

// holdings counts the memory that a session uses for a member's objects.
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

// keep counts an object instead of its previous version. It fails if the total exceeds
// maxHeld.
func (h *holdings) keep(kind schema.GroupVersionKind, o client.Object) error {
	key, size := h.key(kind, o), sizeOf(o)
	h.mu.Lock()
	more := size - h.sizes[key]
	h.sizes[key] = size
	h.mu.Unlock()
	return h.grow(more)
}

// grow adds bytes to the total. It fails if the total exceeds maxHeld.
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

// drop subtracts a deleted object from the total.
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

// perObject is the overhead of an object in bytes: its entries in the cache, in the
// indexes, and in holdings.
const perObject = 256

// sizeOf estimates the memory that an object takes, in bytes.
func sizeOf(o client.Object) int {
	v := reflect.ValueOf(o).Elem()
	return perObject + int(v.Type().Size()) + referred(v)
}

// location is the type that a time.Time points to. It is not counted: all times share
// it, and package time may still initialize it.
var location = reflect.TypeFor[*time.Location]()

// referred estimates the memory that a value points to, in bytes.
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
