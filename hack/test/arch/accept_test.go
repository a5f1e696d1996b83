package arch

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// servesListener is a call by which a server of net/http takes a listener.
var servesListener = regexp.MustCompile(`\bserver\.Serve(TLS)?\(.*listener.*\)|\bhttp\.(Serve|ListenAndServe)(TLS)?\(`)

// TestListenersRest holds that no server of net/http is given a listener that ends
// it, and the process with it, at the first error.
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
		t.Error("no server is found: this test looks for nothing")
	}
}
