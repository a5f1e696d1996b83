package controllers_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/proxy/routing"
)

// detected waits until a MemberCluster reports a rule syntax and its origin.
func detected(t *testing.T, c client.Client, name string, want v1alpha1.RuleSyntax, by string) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("MemberCluster %s should have the syntax %q by %q", name, want, by), func() error {
		var mc v1alpha1.MemberCluster
		testkit.Must(t, c.Get(t.Context(), client.ObjectKey{Name: name}, &mc))
		is := mc.Status.Traefik
		if is == nil {
			is = &v1alpha1.ObservedTraefik{}
		}
		if is.RuleSyntax != want || !strings.Contains(is.DetectedBy, by) {
			return fmt.Errorf("is %+v", is)
		}
		return nil
	})
}

// setIngress changes a MemberCluster's ingress.
func setIngress(t *testing.T, c client.Client, name string, change func(*v1alpha1.IngressEndpoint)) {
	t.Helper()
	testkit.Eventually(t, "MemberCluster "+name+" should be changed", func() error {
		var mc v1alpha1.MemberCluster
		testkit.Must(t, c.Get(t.Context(), client.ObjectKey{Name: name}, &mc))
		change(&mc.Spec.Ingress)
		return c.Update(t.Context(), &mc)
	})
}

// The CRDs of a member determine how its rules are read. They change while usher runs.
// The member's account is one that may only read what usher watches, and no Service.
func TestRuleSyntaxFollowsTheDefinitions(t *testing.T) {
	c := edge(t)
	bare := bareCluster(t)
	testkit.Must(t, bare.InstallTraefikCRDs(t.Context()))
	apply(t, "bare", `
{apiVersion: v1, kind: ServiceAccount, metadata: {name: narrow, namespace: default}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: narrow}, rules: [
  {apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses], verbs: [list, watch]},
  {apiGroups: [traefik.io, traefik.containo.us], resources: [ingressroutes, ingressroutetcps], verbs: [list, watch]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: narrow},
 roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: narrow}, subjects: [{kind: ServiceAccount, name: narrow, namespace: default}]}`)
	kubeconfig, err := bare.KubeconfigFor(t.Context(), "default", "narrow")
	testkit.Must(t, err)
	create(t, c, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "narrow"}, Data: map[string][]byte{"kubeconfig": kubeconfig}})
	const wildcard = "wildcard.syntax.techn.is"
	apply(t, "bare", ingressRoute("wild", "Host(`*.syntax.techn.is`)", exposed))
	table := startUsher(t)
	addMember(t, c, "bare", func(mc *v1alpha1.MemberCluster) { mc.Spec.Kubeconfig.SecretName = "narrow" })
	awaitMember(t, c, "bare", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	detected(t, c, "bare", v1alpha1.RuleSyntaxV3, "with routes[].syntax")
	routed(t, table, "any.syntax.techn.is", "bare")

	// With the former group it may be a Traefik 2 whose definitions were upgraded first.
	testkit.Must(t, bare.InstallOldTraefikCRDs(t.Context()))
	detected(t, c, "bare", "", "")
	routed(t, table, "any.syntax.techn.is", "")
	refusalOf(t, c, "bare", "spec.ingress.ruleSyntax")

	testkit.Must(t, bare.InstallTraefik2CRDs(t.Context()))
	detected(t, c, "bare", v1alpha1.RuleSyntaxV2, "without routes[].syntax")
	refusalOf(t, c, "bare", "it matches no host")
	awaitGone(t, c, wildcard)

	// A person knows better, and takes it back.
	setIngress(t, c, "bare", func(i *v1alpha1.IngressEndpoint) { i.RuleSyntax = v1alpha1.RuleSyntaxV3 })
	routed(t, table, "any.syntax.techn.is", "bare")
	detected(t, c, "bare", v1alpha1.RuleSyntaxV3, "spec.ingress.ruleSyntax")
	setIngress(t, c, "bare", func(i *v1alpha1.IngressEndpoint) { i.RuleSyntax = "" })
	routed(t, table, "any.syntax.techn.is", "")
	detected(t, c, "bare", v1alpha1.RuleSyntaxV2, "without routes[].syntax")

	removeCRDs(t, bare)
	detected(t, c, "bare", "", "")
	testkit.Must(t, bare.InstallOldTraefikCRDs(t.Context()))
	detected(t, c, "bare", v1alpha1.RuleSyntaxV2, "traefik.containo.us")
	removeCRDs(t, bare)
	testkit.Must(t, bare.InstallTraefikCRDs(t.Context()))
	detected(t, c, "bare", v1alpha1.RuleSyntaxV3, "with routes[].syntax")
}

// refusalOf waits until a MemberCluster reports a refusal with a text.
func refusalOf(t *testing.T, c client.Client, name, text string) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprintf("MemberCluster %s should report a refusal: %s", name, text), func() error {
		var mc v1alpha1.MemberCluster
		testkit.Must(t, c.Get(t.Context(), client.ObjectKey{Name: name}, &mc))
		for _, refusal := range mc.Status.Refusals {
			if refusal.Reason == "RuleInvalid" && strings.Contains(refusal.Message, text) {
				return nil
			}
		}
		return fmt.Errorf("it has %+v", mc.Status.Refusals)
	})
}

// The labels of Traefik's Service come before the definitions, and are followed while
// addresses are pinned, which stay what they are.
func TestRuleSyntaxFollowsTheService(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	service := newBalancer(t, "hades", "labelled", "192.0.2.99")
	label := func(key, value string) {
		t.Helper()
		service.service.Labels = map[string]string{key: value}
		testkit.Must(t, service.member.Update(t.Context(), service.service))
	}
	label("app.kubernetes.io/version", "v2.11.3")
	apply(t, "hades", ingressRoute("labelled", "Host(`*.labelled.techn.is`)", exposed))
	apply(t, "hades", ingressRoute("regexp", "HostRegexp(`^[a-z]+\\.regexp\\.techn\\.is$`)", exposed, `usher.techn.is/hosts: a.regexp.techn.is`))
	addMember(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.Ingress.Service.Name = "labelled" })
	detected(t, c, "hades", v1alpha1.RuleSyntaxV2, "label app.kubernetes.io/version of Service kube-system/labelled")
	awaitHost(t, c, "a.regexp.techn.is", refused("HostNotCovered"))

	label("helm.sh/chart", "traefik-34.3.0")
	detected(t, c, "hades", v1alpha1.RuleSyntaxV3, "label helm.sh/chart of Service kube-system/labelled")
	routed(t, table, "any.labelled.techn.is", "hades")
	routed(t, table, "a.regexp.techn.is", "hades")

	label("app.kubernetes.io/version", "v3.6.19")
	eh := awaitHost(t, c, "wildcard.labelled.techn.is", refused("RuleInvalid"))
	if said := eh.Status.Conditions[0].Message; !strings.Contains(said, "v3.6.19") || !strings.Contains(said, "upgrade Traefik") {
		t.Errorf("it says %q", said)
	}
	refusedRoute(t, table, "any.labelled.techn.is", "RuleInvalid")
	routed(t, table, "a.regexp.techn.is", "hades")
	label("app.kubernetes.io/version", "v3.7.13")
	routed(t, table, "any.labelled.techn.is", "hades")

	mc := awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	if is := mc.Status.Ingress; len(is.Addresses) != 1 || is.Addresses[0] != addressOf["hades"] || !is.Pinned {
		t.Errorf("the pinned address became %+v", is)
	}
	if is := mc.Status.Traefik; is == nil || is.Version != "v3.7.13" {
		t.Errorf("Traefik is %+v", is)
	}
	testkit.Must(t, service.member.Delete(t.Context(), service.service))
	detected(t, c, "hades", v1alpha1.RuleSyntaxV3, "with routes[].syntax")
	routed(t, table, "any.labelled.techn.is", "hades")
}

// What an API server answers instead of a schema changes nothing, costs little, and
// touches no other member; a wrong schema is believed of its own member alone.
func TestSchemaThatAMemberMakesUp(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	g := openGate(t, bed.Cluster("hades"))
	kubeconfig, err := bed.Cluster("hades").Kubeconfig()
	testkit.Must(t, err)
	addMemberBy(t, c, "hades", g.kubeconfig(t, kubeconfig))
	addMember(t, c, "illmatic", nil)
	for _, cluster := range []string{"hades", "illmatic"} {
		apply(t, cluster, ingressRoute("wild", "Host(`*."+cluster+"-schema.techn.is`)", exposed))
		routed(t, table, "any."+cluster+"-schema.techn.is", cluster)
	}
	p := publish(t, table, "hades")
	stop := watchRoute(t, table, "any.hades-schema.techn.is", func(r *routing.Route) bool { return r != nil && r.Refusal == "" })
	var asked atomic.Int64
	answer := func(say http.HandlerFunc) {
		asked.Store(0)
		g.schema.Store(new(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			say(w, r)
		})))
		testkit.Eventually(t, "the schema should be asked for", func() error {
			if asked.Load() == 0 {
				return errors.New("it was not")
			}
			return nil
		})
	}

	answer(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not ready", http.StatusInternalServerError)
	})
	g.freeze() // and a new connection learns nothing
	awaitUnreachable(t, c, "hades", time.Now())
	g.thaw()
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	detected(t, c, "hades", v1alpha1.RuleSyntaxV3, "with routes[].syntax")
	stop()
	answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"wrong"`)
		_, _ = io.WriteString(w, `{"components": {"schemas": {"io.traefik.v1alpha1.IngressRoute": {"properties": {"spec": {"properties": {"routes": {"items": {"properties": {"match": {}}}}}}}}}}}`)
	})
	detected(t, c, "hades", v1alpha1.RuleSyntaxV2, "without routes[].syntax")
	routed(t, table, "any.hades-schema.techn.is", "")
	answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"endless"`)
		for piece, err := strings.Repeat(`{"a":[`, 10_000), error(nil); err == nil; {
			_, err = io.WriteString(w, piece)
		}
	})
	testkit.Consistently(t, 12*time.Second, "an endless schema should be left alone", func() error {
		if n := asked.Load(); n > 1 {
			return fmt.Errorf("it was asked for %d times", n)
		}
		return nil
	})
	p.change(t)
	p.caughtUp(t, table)
	routed(t, table, "any.illmatic-schema.techn.is", "illmatic")
	detected(t, c, "illmatic", v1alpha1.RuleSyntaxV3, "with routes[].syntax")
}
