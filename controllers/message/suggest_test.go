package message_test

import (
	"strings"
	"testing"

	"github.com/jovalle/usher/controllers/message"
)

func TestDidYouMean(t *testing.T) {
	for _, test := range []struct{ word, known, want string }{
		{"lst", "add isolate list remove", "list"},
		{"clutser", "check cluster completion", "cluster"},
		{"egde", "default edge hades", "edge"},
		{"Hades", "edge hades", "hades"},
		{"allowfrom", "host backends allowFrom", "allowFrom"},
		{"backend", "host backends allowFrom", "backends"},
		{"half-close-timeout", "hello-timeout half-closed-timeout", "half-closed-timeout"},
		{"context", "edge-context timeout", "edge-context"},
		{"https", "http-listen https-listen", "https-listen"},
		{"ExposedHosts", "MemberCluster ExposedHost", "ExposedHost"},
		{"addrss", "cluster address", "address"},
		{"purge", "add isolate list remove", ""},
		{"x", "a b", ""},
		{"", "a b", ""},
		{"ab", "abcdef", ""},
		{"abc", "", ""},
		{"hade", "hadez hades", "hadez"}, // the first of several
	} {
		if got := message.Nearest(test.word, strings.Fields(test.known)); got != test.want {
			t.Errorf("Nearest(%q, %s) = %q; want %q", test.word, test.known, got, test.want)
		}
	}
	if got := message.DidYouMean("egde", []string{"edge"}); got != ` Did you mean "edge"?` {
		t.Errorf("DidYouMean = %q", got)
	}
	if got := message.DidYouMean("egde", nil); got != "" {
		t.Errorf("DidYouMean = %q without known words", got)
	}
}
