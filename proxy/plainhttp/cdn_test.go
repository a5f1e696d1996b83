package plainhttp

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// Redirected requests of a CDN are counted, and forgotten after an hour. Names without end
// take no more memory.
func TestCDNLoopsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var loops CDNLoops
		for range 3 {
			loops.add("flexible.techn.is")
			time.Sleep(time.Minute)
		}
		if n := loops.Requests("flexible.techn.is"); n != 3 {
			t.Errorf("it has %d requests, want 3", n)
		}
		if n := loops.Requests("other.techn.is"); n != 0 {
			t.Errorf("another host has %d", n)
		}
		time.Sleep(cdnWindow)
		if n := loops.Requests("flexible.techn.is"); n != 0 {
			t.Errorf("after an hour it has %d", n)
		}
		loops.add("flexible.techn.is")
		if n := loops.Requests("flexible.techn.is"); n != 1 {
			t.Errorf("then it has %d, want 1", n)
		}
		for i := range 3 * maxCDNHosts {
			time.Sleep(time.Millisecond)
			loops.add(fmt.Sprint(i, ".techn.is"))
		}
		if len(loops.hosts) != maxCDNHosts || loops.Requests(fmt.Sprint(3*maxCDNHosts-1, ".techn.is")) != 1 {
			t.Errorf("%d hosts are remembered, want the latest %d", len(loops.hosts), maxCDNHosts)
		}
	})
}

func TestReceivedOverTLS(t *testing.T) {
	for value, want := range map[string]bool{`{"scheme":"https"}`: true, `{"scheme": "https"}`: true, `{"scheme":"http"}`: false, "": false, "https": false} {
		if got := receivedOverTLS(http.Header{"Cf-Visitor": {value}}); got != want {
			t.Errorf("CF-Visitor: %s: %t", value, got)
		}
	}
	if !receivedOverTLS(http.Header{"X-Forwarded-Proto": {"https"}}) || receivedOverTLS(http.Header{"X-Forwarded-Proto": {"http"}}) {
		t.Error("X-Forwarded-Proto is read wrongly")
	}
}
