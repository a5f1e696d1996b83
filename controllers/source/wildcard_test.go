package source_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefikrule"
)

// annotated is an object with the hosts annotation and these fields of its spec.
func annotated(hosts, spec string) string {
	return meta(fmt.Sprintf("usher.techn.is/hosts: %q", hosts)) + "spec: {" + spec + "}"
}

func TestWildcardsByRegularExpressions(t *testing.T) {
	runSourceTests(t, source.KindIngressRoute, hades, []sourceTest{
		{"a platform's wildcard", annotated("*.apps.example.org", "entryPoints: [websecure], routes: [{kind: Rule, match: 'HostRegexp(`^[^.]+\\.apps\\.example\\.org$`)'}]"), "*.apps.example.org []"},
		{"not its parent, nor names below", annotated("*.example.org,*.a.apps.example.org,apps.example.org", routes("HostRegexp(`^[^.]+\\.apps\\.example\\.org$`)")),
			"*.a.apps.example.org=HostNotCovered *.example.org=HostNotCovered apps.example.org=HostNotCovered []"},
		{"a path of every name", annotated("*.int.example.org,app.int.example.org,app.other.example.org", routes("HostRegexp(`^.+\\.int\\.example\\.org$`) && PathPrefix(`/oauth2`)")),
			"*.int.example.org app.int.example.org app.other.example.org=HostNotCovered []"},
		{"all but admin", annotated("*.example.org,a.example.org", routes("HostRegexp(`^[^.]+\\.example\\.org$`) && !HostRegexp(`^admin\\.`)")), "*.example.org=HostNotCovered a.example.org []"},
		{"all but admin, which another part holds", annotated("*.example.org", routes("HostRegexp(`^[^.]+\\.example\\.org$`) && !Host(`admin.example.org`) || Host(`admin.example.org`)")), "*.example.org []"},
		{"two routes are not asked together", annotated("*.example.org", routes("HostRegexp(`^[a-m].*\\.example\\.org$`)", "HostRegexp(`^[^a-m].*\\.example\\.org$`)")), "*.example.org=HostNotCovered []"},
		{"Traefik 2's template", annotated("*.example.org", "routes: [{syntax: v2, match: 'HostRegexp(`{sub:[a-z0-9-]+}.example.org`)'}]"), "*.example.org []"},
		{"long expressions over paths", annotated("chat.example.org", routes("Host(`chat.example.org`) && PathRegexp(`^/("+strings.Repeat("sync|events|", 100)+"x)$`)")), "chat.example.org []"},
	})
	runSourceTests(t, source.KindIngressRouteTCP, hades, []sourceTest{
		{"a mesh", annotated("*.mesh.example.org,mesh.example.org,a.b.mesh.example.org", "tls: {passthrough: true}, routes: [{syntax: v3, match: 'HostSNIRegexp(`^[a-z0-9-]+\\.mesh\\.example\\.org$`)'}]"),
			"*.mesh.example.org a.b.mesh.example.org=HostNotCovered mesh.example.org=HostNotCovered []"},
		{"any name", annotated("*.mesh.example.org", "tls: {passthrough: true}, "+routes("HostSNIRegexp(`^.+\\.mesh\\.example\\.org$`)")), "*.mesh.example.org []"},
	})
	old := hades
	old.WithoutWildcards = "v3.6.2"
	runSourceTests(t, source.KindIngressRoute, old, []sourceTest{
		{"in a Traefik whose Host has no wildcards", annotated("*.example.org", routes("HostRegexp(`^[^.]+\\.example\\.org$`)")), "*.example.org []"},
	})
}

// The users of a member cluster choose how many wildcards they annotate, how many routes
// an object has, and their expressions.
func TestTheWildcardsOfAnObjectTakeNoLongerThanABound(t *testing.T) {
	var hosts []string
	for i := range 200 {
		hosts = append(hosts, fmt.Sprintf("*.a%d.example.org", i))
	}
	var rules []string
	for range 200 {
		rules = append(rules, "HostRegexp(`(a|b)[^.]{30}\\.example\\.org$`) || HostRegexp(`[^.]\\.example\\.org$|\\.a.*\\.example\\.org$`) && !HostRegexp(`-{60}`)")
	}
	const bound = 5 * time.Second // 0.2 s on an idle machine
	start := time.Now()
	result := translate(t, source.KindIngressRoute, annotated(strings.Join(hosts, ","), routes(rules...)), source.Context{Cluster: "hades", RuleSyntax: traefikrule.V3})
	if took := time.Since(start); took > bound {
		t.Errorf("it took %v, want at most %v", took, bound)
	}
	for _, claim := range result.Claims {
		if claim.Refusal == nil || claim.Refusal.Reason != reason.HostNotCovered {
			t.Errorf("%s: %+v, want %s", claim.Host, claim.Refusal, reason.HostNotCovered)
		}
	}
}
