package member

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"golang.org/x/time/rate"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Events of any number and form pass unchanged. An event that is too long is refused.
func TestEventsAreBoundedEachByItself(t *testing.T) {
	long := strings.Repeat("x", maxAnswer/2)
	for name, test := range map[string]struct {
		events string
		passes bool
	}{
		"many":                        {strings.Repeat(fmt.Sprintf("{\"a\": {\"b\": %q}}\n", long), 5), true},
		"without a line between":      {strings.Repeat(fmt.Sprintf("{\"a\": {\"b\": %q}}", long), 5), true},
		"braces and quotes in text":   {strings.Repeat(fmt.Sprintf("{\"a\\\"{\": \"}{\\\\\", \"b\": %q}\n", long), 5), true},
		"one that is too long":        {fmt.Sprintf("{\"a\": %q, \"b\": %q}", long, long), false},
		"text that seems to end it":   {fmt.Sprintf("{\"a\": \"}\\\"}%s\", \"b\": %q}", long, long), false},
		"an object in it ends":        {fmt.Sprintf("{\"a\": {\"c\": %q}, \"b\": %q}", long, long), false},
		"lines in it":                 {"{" + strings.Repeat("\n", maxAnswer), false},
		"nothing of an object":        {strings.Repeat("\n", maxAnswer+1), false},
		"what is no JSON, and closes": {strings.Repeat("}", maxAnswer+1), false},
	} {
		t.Run(name, func(t *testing.T) {
			var exceeded error
			body := &boundedEvents{ctx: t.Context(), rate: rate.NewLimiter(rate.Inf, 0), ReadCloser: io.NopCloser(iotest.HalfReader(strings.NewReader(test.events))), exceeded: func(err error) { exceeded = err }}
			got, err := io.ReadAll(body)
			if test.passes != (err == nil) || errors.Is(err, errTooLarge) == test.passes || errors.Is(exceeded, errTooLarge) == test.passes {
				t.Fatalf("read with %v, reported %v", err, exceeded)
			}
			if test.passes && !bytes.Equal(got, []byte(test.events)) {
				t.Error("the bytes are others")
			}
		})
	}
}

func TestAnswerIsBounded(t *testing.T) {
	for size, passes := range map[int]bool{0: true, maxAnswer: true, maxAnswer + 1: false, 3 * maxAnswer: false} {
		body := &boundedAnswer{ReadCloser: io.NopCloser(bytes.NewReader(make([]byte, size))), left: maxAnswer}
		got, err := io.ReadAll(body)
		if passes != (err == nil) || errors.Is(err, errTooLarge) == passes || len(got) > maxAnswer {
			t.Errorf("of %d bytes, %d were read with %v", size, len(got), err)
		}
	}
}

// A change or a deletion frees memory: the limit is on what is kept at one time.
func TestHoldingsCountWhatIsKept(t *testing.T) {
	var exceeded error
	h := newHoldings(func(err error) { exceeded = err })
	gvk := networkingv1.SchemeGroupVersion.WithKind("Ingress")
	large := strings.Repeat("x", maxHeld/3)
	ingress := func(n int) *networkingv1.Ingress {
		return &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(n), Annotations: map[string]string{"a": large}}}
	}
	for n := range 1000 {
		if err := h.keep(gvk, ingress(n%2)); err != nil {
			t.Fatalf("change %d: %v", n, err)
		}
		h.drop(gvk, ingress(n%2))
		h.drop(gvk, ingress(n%2))
		if err := h.keep(gvk, ingress(n%2)); err != nil {
			t.Fatalf("made again %d: %v", n, err)
		}
	}
	if err := h.keep(gvk, ingress(2)); !errors.Is(err, errTooLarge) || !errors.Is(exceeded, errTooLarge) {
		t.Errorf("the third: %v, reported %v", err, exceeded)
	}
}
