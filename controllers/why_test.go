package controllers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers"
	"github.com/jovalle/usher/controllers/explain"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// asked is a running control plane with its table, that can be asked about hosts.
type asked struct {
	table *routing.Live
	facts controllers.HostFacts
}

// startExplaining runs the reconcilers until the test ends.
func startExplaining(t *testing.T) *asked {
	t.Helper()
	a := &asked{table: &routing.Live{}}
	stop := startControllers(t, a.table, controllers.Explaining(func(facts controllers.HostFacts) { a.facts = facts }))
	t.Cleanup(stop)
	return a
}

// why explains a host. The proxy of the test dials nobody: backends accept.
func (a *asked) why(t *testing.T, host string) explain.Explanation {
	t.Helper()
	control, err := a.facts(t.Context(), host)
	testkit.Must(t, err)
	proxy := &explain.Proxy{}
	route := a.table.Load().Own(host)
	if route == nil {
		route = a.table.Load().Lookup(host)
	}
	if proxy.Route = explain.RouteOf(route); route != nil && route.Refusal == "" {
		proxy.Dials = []explain.Dial{{Cluster: "hades", Address: "192.0.2.10:443"}}
	}
	return explain.Of(host, explain.Facts{Host: host, Control: control, Proxy: proxy})
}

// awaitWhy waits until the explanation has a verdict, a summary with a text, and a command.
func (a *asked) awaitWhy(t *testing.T, host string, verdict explain.Verdict, says, command string) {
	t.Helper()
	testkit.Eventually(t, "why "+host, func() error {
		is := a.why(t, host)
		if is.Verdict != verdict || !strings.Contains(is.Summary, says) || is.Command != command {
			text, _ := json.MarshalIndent(is, "", " ")
			return fmt.Errorf("want %s, %q and %q; it is %s", verdict, says, command, text)
		}
		return nil
	})
}

// What stops a host, over real API servers: the printed command is run, and mends it.
func TestWhy(t *testing.T) {
	c := edge(t)
	a := startExplaining(t)
	addMember(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.AllowedDomains = []string{"why.is"} })
	addMember(t, c, "illmatic", nil)
	awaitMember(t, c, "hades", v1alpha1.ConditionSynced, "True", reason.Synced)
	awaitMember(t, c, "illmatic", v1alpha1.ConditionSynced, "True", reason.Synced)
	a.awaitWhy(t, "nobody.why.is", explain.NotExposed, "no object of any member names it", "kubectl get memberclusters")

	apply(t, "hades", ingressRoute("why", "Host(`app.why.is`) && PathPrefix(`/x`)"))
	annotate := "kubectl --context hades -n default annotate ingressroute.traefik.io why usher.techn.is/expose=true"
	a.awaitWhy(t, "app.why.is", explain.NotExposed, "IngressRoute default/why of cluster hades names it and is not annotated", annotate)
	if is := a.why(t, "app.why.is"); !strings.Contains(is.Steps[1].Details[0].Text, "spec.routes[0].match: Host(`app.why.is`) && PathPrefix(`/x`)") {
		t.Errorf("the rule is not shown: %+v", is.Steps[1])
	}
	run(t, "hades", annotate)
	a.awaitWhy(t, "app.why.is", explain.Exposed, "by the word of IngressRoute default/why of hades", "")

	apply(t, "hades", ingressRoute("why-domain", "Host(`app.why-not.is`)", exposed))
	a.awaitWhy(t, "app.why-not.is", explain.NotExposed, "cluster hades may publish only under why.is",
		`kubectl patch membercluster hades --type=json -p '[{"op":"add","path":"/spec/allowedDomains/-","value":"app.why-not.is"}]'`)

	apply(t, "hades", ingressRoute("why-bad", "Host(`bad.why.is`)", exposed, `usher.techn.is/plain-http: "maybe"`))
	a.awaitWhy(t, "bad.why.is", explain.NotExposed, "maybe", "kubectl --context hades -n default edit ingressroute.traefik.io why-bad")

	apply(t, "illmatic", ingressRoute("why-late", "Host(`app.why.is`)", exposed))
	testkit.Eventually(t, "the rival should be explained", func() error {
		for _, d := range a.why(t, "app.why.is").Steps[2].Details {
			if strings.Contains(d.Of, "illmatic") && d.Mark == explain.Failed && strings.Contains(d.Text, reason.HeldByAnother) {
				return nil
			}
		}
		return fmt.Errorf("%+v", a.why(t, "app.why.is").Steps[2])
	})

	apply(t, "hades", wildcard("why-wild", "*.w.why.is", exposed)+"---\n"+ingressRoute("why-private", "Host(`private.w.why.is`)"))
	a.awaitWhy(t, "private.w.why.is", explain.NotExposed, "since it excepts the name", "kubectl --context hades -n default annotate ingressroute.traefik.io why-private usher.techn.is/expose=true")
	a.awaitWhy(t, "other.w.why.is", explain.Exposed, "by the wildcard *.w.why.is", "")

	nowhere := &v1alpha1.MemberCluster{}
	nowhere.Name, nowhere.Spec.Kubeconfig = "nowhere", &v1alpha1.KubeconfigRef{SecretName: "nowhere-kubeconfig"}
	create(t, c, nowhere)
	a.awaitWhy(t, "unread.why.is", explain.NotExposed, "the objects of cluster nowhere were never read", "kubectl describe membercluster nowhere")
}

// What the steps say about isolation that an object without the annotation undoes, and about a
// member that was read and is away now: its objects are known, and its hosts stay exposed.
func TestWhyOfIsolationAndAMemberThatIsAway(t *testing.T) {
	c := edge(t)
	a := startExplaining(t)
	g := openGate(t, bed.Cluster("hades"))
	kubeconfig, err := bed.Cluster("hades").Kubeconfig()
	testkit.Must(t, err)
	addMemberBy(t, c, "hades", g.kubeconfig(t, kubeconfig))
	awaitStep := func(host, name string, mark explain.Mark, says string) {
		t.Helper()
		testkit.Eventually(t, fmt.Sprintf("step %s of %s should be %s", name, host, mark), func() error {
			for _, step := range a.why(t, host).Steps {
				text, _ := json.Marshal(step)
				if step.Name == name && (step.Mark != mark || !strings.Contains(string(text), says)) {
					return fmt.Errorf("it is %s, want %q", text, says)
				}
			}
			return nil
		})
	}
	apply(t, "hades", withOptions("exposed", ingressRoute("why-isolated", "Host(`isolated.why.is`)", exposed)))
	a.awaitWhy(t, "isolated.why.is", explain.Exposed, "is exposed", "")
	awaitStep("isolated.why.is", explain.StepIsolation, explain.Skipped, "no cluster that serves it has spec.isolation")

	mc := awaitMember(t, c, "hades", v1alpha1.ConditionSynced, "True", reason.Synced)
	isolate(mc)
	testkit.Must(t, c.Update(t.Context(), mc))
	awaitStep("isolated.why.is", explain.StepIsolation, explain.OK, "reach no object without the annotation")
	apply(t, "hades", withOptions("exposed", ingressRoute("why-sibling", "Host(`sibling.why.is`)")))
	awaitStep("isolated.why.is", explain.StepIsolation, explain.Failed, "IngressRoute default/why-sibling")
	a.awaitWhy(t, "isolated.why.is", explain.Exposed, "is exposed", "")
	apply(t, "hades", ingressRoute("why-open", "Host(`open.why.is`)", exposed))
	a.awaitWhy(t, "open.why.is", explain.NotExposed, "publishes only routes with the TLSOption default/exposed", "kubectl --context hades -n default edit ingressroute.traefik.io why-open")

	g.freeze()
	awaitUnreachable(t, c, "hades", time.Now())
	awaitStep("isolated.why.is", explain.StepMembers, explain.Failed, reason.Unreachable)
	awaitStep("isolated.why.is", explain.StepObjects, explain.OK, "IngressRoute default/why-isolated")
	a.awaitWhy(t, "isolated.why.is", explain.Exposed, "by the word of IngressRoute default/why-isolated of hades", "")
	a.awaitWhy(t, "sibling.why.is", explain.NotExposed, "is not annotated", "kubectl --context hades -n default annotate ingressroute.traefik.io why-sibling usher.techn.is/expose=true")
}

// Without usher the objects of the edge cluster say what they can.
func TestWhyOfTheObjects(t *testing.T) {
	c := edge(t)
	a := startExplaining(t)
	addMember(t, c, "hades", nil)
	apply(t, "hades", ingressRoute("why-away", "Host(`away.why.is`)", exposed)+"---\n"+ingressRoute("why-refused", "Host(`refused.why.is`)", exposed, `usher.techn.is/plain-http: "maybe"`))
	a.awaitWhy(t, "away.why.is", explain.Exposed, "is exposed", "")
	awaitHost(t, c, "refused.why.is", refused(reason.AnnotationInvalid))
	for host, want := range map[string]explain.Verdict{"away.why.is": explain.CannotTell, "refused.why.is": explain.NotExposed, "nobody.why.is": explain.NotExposed} {
		control, err := controllers.FactsOfObjects(t.Context(), c, host)
		testkit.Must(t, err)
		if is := explain.Of(host, explain.Facts{Control: control}); is.Verdict != want || is.Steps[0].Mark == explain.Unknown || is.Steps[1].Mark != explain.Unknown {
			t.Errorf("%s: %+v", host, is)
		}
	}
}

// run runs a printed kubectl command in a cluster, without its context.
func run(t *testing.T, cluster, command string) {
	t.Helper()
	args := strings.Fields(strings.TrimPrefix(command, "kubectl --context "+cluster+" "))
	_, err := bed.Cluster(cluster).Kubectl(t.Context(), args...)
	testkit.Must(t, err)
}

// The time of an explanation while a member names 10,000 hosts. It is printed; what it may
// be is for people to say.
func TestWhyWithManyHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes 20 large objects")
	}
	c := edge(t)
	a := startExplaining(t)
	addMember(t, c, "hades", nil)
	const objects, each = 20, 500
	for i := range objects {
		var rules strings.Builder
		for j := range each {
			fmt.Fprintf(&rules, "  - {host: h%d-%d.many-why.is}\n", i, j)
		}
		apply(t, "hades", fmt.Sprintf("apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: many-why-%d, namespace: default}\nspec:\n  rules:\n%s", i, rules.String()))
	}
	host := fmt.Sprintf("h%d-%d.many-why.is", objects-1, each-1)
	a.awaitWhy(t, host, explain.NotExposed, "is not annotated", fmt.Sprintf("kubectl --context hades -n default annotate ingress many-why-%d usher.techn.is/expose=true", objects-1))
	began, rounds := time.Now(), 100
	for range rounds {
		if _, err := a.facts(context.Background(), host); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("with %d hosts the facts about one take %s", objects*each, time.Since(began)/time.Duration(rounds))
}
