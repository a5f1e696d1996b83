package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// servesListener matches a call that passes a listener to a server of net/http.
var servesListener = regexp.MustCompile(`\bserver\.Serve(TLS)?\(.*listener.*\)|\bhttp\.(Serve|ListenAndServe)(TLS)?\(`)

// TestListenersRest checks that each listener of a net/http server is wrapped by
// accept.Resting. Otherwise the first error of Accept would end the server.
func TestListenersRest(t *testing.T) {
	found := 0
	for _, p := range packages(t) {
		if !p.in("proxy") && !p.in("cmd") {
			continue
		}
		files, err := filepath.Glob(filepath.Join(p.Dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, call := range servesListener.FindAllString(string(source), -1) {
				found++
				if !strings.Contains(call, "accept.Retrying(") && !strings.Contains(call, "s.wrap(") {
					t.Errorf("%s: %s: wrap the listener by accept.Retrying", file, call)
				}
			}
		}
	}
	if found == 0 {
		t.Error("no server is found: the pattern is wrong")
	}
}
