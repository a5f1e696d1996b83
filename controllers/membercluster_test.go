package controllers_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
)

func TestMemberBecomesReady(t *testing.T) {
	c := edge(t)
	startUsher(t)
	addMember(t, c, "hades", nil)
	mc := awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	if mc.Status.KubernetesVersion == "" || mc.Status.LastSyncTime == nil {
		t.Errorf("version or time of sync is missing: %+v", mc.Status)
	}
	if mc.Status.Ingress.HTTPSPort != 443 || mc.Status.Ingress.HTTPPort != 80 {
		t.Errorf("the ports are not the defaults: %+v", mc.Status.Ingress)
	}
}

// Without addresses in its spec, a member's ingress is where its Traefik Service's load balancer is.
func TestMemberTakesAddressesFromItsService(t *testing.T) {
	c := edge(t)
	startUsher(t)
	addMember(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.Ingress.Addresses = nil })
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionFalse, "NoIngressAddress")

	member := clientOf(t, "hades")
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "traefik"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 443}}},
	}
	create(t, member, service)
	service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.77"}}
	testkit.Must(t, member.Status().Update(t.Context(), service))
	mc := awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	if !slices.Equal(mc.Status.Ingress.Addresses, []string{"192.0.2.77"}) {
		t.Errorf("addresses are %v", mc.Status.Ingress.Addresses)
	}
}

func TestBrokenKubeconfigIsToldAndHarmsNoOther(t *testing.T) {
	c := edge(t)
	startUsher(t)
	addMember(t, c, "hades", nil)
	for _, test := range []struct {
		name, kubeconfig, reason, advice string
	}{
		{"no Secret", "", "SecretNotFound", "run usher cluster add broken"},
		{"no kubeconfig at all", "not: [a, kubeconfig", "KubeconfigInvalid", "Secret broken, key kubeconfig"},
		{"an exec plugin", kubeconfigWith("https://127.0.0.1:1", "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/true}"), "KubeconfigInvalid", "use a ServiceAccount's token"},
		{"an auth-provider", kubeconfigWith("https://127.0.0.1:1", "auth-provider: {name: gcp}"), "KubeconfigInvalid", "use a ServiceAccount's token"},
		{"a token file", kubeconfigWith("https://127.0.0.1:1", "tokenFile: /etc/passwd"), "KubeconfigInvalid", "put the token itself into token"},
		{"a client certificate's path", kubeconfigWith("https://127.0.0.1:1", "client-certificate: /etc/passwd"), "KubeconfigInvalid", "put the content into client-certificate-data"},
		{"a client key's path", kubeconfigWith("https://127.0.0.1:1", "client-key: /etc/passwd"), "KubeconfigInvalid", "client-key-data"},
		{"a CA's path", strings.Replace(kubeconfigWith("https://127.0.0.1:1", "token: x"), "{server:", "{certificate-authority: /etc/passwd, server:", 1), "KubeconfigInvalid", "put the certificate itself into certificate-authority-data"},
		{"no TLS", kubeconfigWith("http://127.0.0.1:1", "token: x"), "KubeconfigInsecure", "write https:// before the address"},
		{"no scheme", kubeconfigWith("127.0.0.1:1", "token: x"), "KubeconfigInsecure", "write https:// before the address"},
		{"nobody's certificate", kubeconfigOf("insecure-skip-tls-verify: true", "token: x"), "KubeconfigInsecure", "set spec.kubeconfig.insecure: true"},
		{"a proxy", kubeconfigOf("proxy-url: 'http://127.0.0.1:1'", "token: x"), "KubeconfigInsecure", "proxy-url: the edge would connect"},
		{"another's name", kubeconfigOf("", "token: x, as: system:admin"), "KubeconfigInsecure", "set spec.kubeconfig.insecure: true"},
		{"another's groups", kubeconfigOf("", "token: x, as-groups: [system:masters]"), "KubeconfigInsecure", "as: an account"},
		{"another's uid", kubeconfigOf("", "token: x, as-uid: '7'"), "KubeconfigInsecure", "as: an account"},
		{"another's attributes", kubeconfigOf("", "token: x, as-user-extra: {a: [b]}"), "KubeconfigInsecure", "as: an account"},
		{"an address where nothing listens", kubeconfigWith("https://127.0.0.1:1", "token: x"), "Unreachable", "check that it runs and that the edge can reach it"},
		{"an unknown CA", kubeconfigWith("https://"+bed.Cluster("illmatic").Address().String(), "token: x"), "CertificateInvalid", "put its CA into certificate-authority-data"},
		{"a wrong token", wrongToken(t), "Unauthorized", "add the cluster again to rotate them"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.kubeconfig != "" {
				create(t, c, &corev1.Secret{
					ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "broken"},
					Data:       map[string][]byte{"kubeconfig": []byte(test.kubeconfig)},
				})
			}
			create(t, c, &v1alpha1.MemberCluster{
				ObjectMeta: metav1.ObjectMeta{Name: "broken"},
				Spec:       v1alpha1.MemberClusterSpec{Kubeconfig: &v1alpha1.KubeconfigRef{SecretName: "broken"}},
			})
			awaitMember(t, c, "broken", v1alpha1.ConditionConnected, metav1.ConditionFalse, test.reason)
			mc := awaitMember(t, c, "broken", v1alpha1.ConditionReady, metav1.ConditionFalse, test.reason)
			if said := meta.FindStatusCondition(mc.Status.Conditions, v1alpha1.ConditionReady).Message; !strings.Contains(said, test.advice) {
				t.Errorf("it says %q, and not what to do: %q", said, test.advice)
			}
		})
	}
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
}

// A repaired Secret connects the member without anything else being done.
func TestRepairedSecretConnects(t *testing.T) {
	c := edge(t)
	startUsher(t)
	addMember(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.Kubeconfig.SecretName = "late" })
	awaitMember(t, c, "hades", v1alpha1.ConditionConnected, metav1.ConditionFalse, "SecretNotFound")
	kubeconfig, err := bed.Cluster("hades").Kubeconfig()
	testkit.Must(t, err)
	create(t, c, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "late"}, Data: map[string][]byte{"kubeconfig": kubeconfig}})
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
}

// A member without a permission says which, and works once it is granted.
func TestForbiddenIsTold(t *testing.T) {
	c := edge(t)
	startUsher(t)
	apply(t, "hades", "{apiVersion: v1, kind: ServiceAccount, metadata: {name: powerless, namespace: default}}")
	kubeconfig, err := bed.Cluster("hades").KubeconfigFor(t.Context(), "default", "powerless")
	testkit.Must(t, err)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "powerless"}, Data: map[string][]byte{"kubeconfig": kubeconfig}}
	create(t, c, secret)
	create(t, c, &v1alpha1.MemberCluster{
		ObjectMeta: metav1.ObjectMeta{Name: "powerless"},
		Spec: v1alpha1.MemberClusterSpec{
			Kubeconfig: &v1alpha1.KubeconfigRef{SecretName: "powerless"},
			Ingress:    v1alpha1.IngressEndpoint{Addresses: []string{"192.0.2.1"}},
		},
	})
	awaitMember(t, c, "powerless", v1alpha1.ConditionSynced, metav1.ConditionFalse, "Forbidden")
	apply(t, "hades", `{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: powerless},
		roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}, subjects: [{kind: ServiceAccount, name: powerless, namespace: default}]}`)
	awaitMember(t, c, "powerless", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
}

// status.hosts counts what the member serves.
func TestMemberCountsItsHosts(t *testing.T) {
	c := edge(t)
	startUsher(t)
	addMember(t, c, "hades", nil)
	for i := range 3 {
		name := fmt.Sprintf("counted%d", i)
		apply(t, "hades", ingressRoute(name, fmt.Sprintf("Host(`%s.techn.is`)", name), exposed))
	}
	counts := func(want int32) {
		t.Helper()
		testkit.Eventually(t, fmt.Sprintf("%d hosts", want), func() error {
			var mc v1alpha1.MemberCluster
			if err := c.Get(t.Context(), client.ObjectKey{Name: "hades"}, &mc); err != nil {
				return err
			}
			if mc.Status.Hosts != want {
				return fmt.Errorf("counts %d", mc.Status.Hosts)
			}
			return nil
		})
	}
	counts(3)
	apply(t, "hades", ingressRoute("counted1", "Host(`counted1.techn.is`)"))
	counts(2)
	create(t, c, &v1alpha1.ExposedHost{
		ObjectMeta: metav1.ObjectMeta{Name: "by-hand.techn.is"},
		Spec:       v1alpha1.ExposedHostSpec{Host: "by-hand.techn.is", Backends: []v1alpha1.HostBackend{{Cluster: "hades"}, {Cluster: "hades"}, {Address: "192.0.2.1"}}},
	})
	counts(3)
}

// A person may allow what is weak, and the condition says so; never what runs a
// program or reads a file at the edge.
func TestInsecureKubeconfigIsAllowedByAPersonOnly(t *testing.T) {
	c := edge(t)
	startUsher(t)
	sound, err := bed.Cluster("hades").Kubeconfig()
	testkit.Must(t, err)
	weak, err := clientcmd.Load(sound)
	testkit.Must(t, err)
	for _, cluster := range weak.Clusters {
		cluster.InsecureSkipTLSVerify, cluster.CertificateAuthorityData = true, nil
	}
	kubeconfig, err := clientcmd.Write(*weak)
	testkit.Must(t, err)
	addMemberBy(t, c, "hades", kubeconfig)
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionFalse, "KubeconfigInsecure")
	change(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.Kubeconfig.Insecure = true })
	mc := awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	if said := meta.FindStatusCondition(mc.Status.Conditions, v1alpha1.ConditionConnected).Message; !strings.Contains(said, "is insecure, as spec.kubeconfig.insecure allows: insecure-skip-tls-verify") {
		t.Errorf("it says %q", said)
	}
	apply(t, "hades", ingressRoute("weak", "Host(`weak.techn.is`)", exposed))
	awaitHost(t, c, "weak.techn.is", ready("hades"))
	change(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.Kubeconfig.Insecure = false })
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionFalse, "KubeconfigInsecure")
	apply(t, "hades", ingressRoute("unheard", "Host(`unheard.techn.is`)", exposed))
	testkit.Consistently(t, 2*time.Second, "the member should not be read", func() error {
		if err := c.Get(t.Context(), client.ObjectKey{Name: "unheard.techn.is"}, &v1alpha1.ExposedHost{}); err == nil {
			return errors.New("unheard.techn.is is exposed")
		}
		return nil
	})
	awaitHost(t, c, "weak.techn.is", ready("hades"))
	change(t, c, "hades", func(mc *v1alpha1.MemberCluster) { mc.Spec.Kubeconfig.Insecure = true })
	awaitHost(t, c, "unheard.techn.is", ready("hades"))
	for name, user := range map[string]string{
		"plugin":        "exec: {apiVersion: client.authentication.k8s.io/v1, command: /bin/true}",
		"auth-provider": "auth-provider: {name: gcp}",
		"token-file":    "tokenFile: /etc/passwd",
		"certificate":   "client-certificate: /etc/passwd",
		"key":           "client-key: /etc/passwd",
	} {
		create(t, c, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string][]byte{"kubeconfig": []byte(kubeconfigWith("https://127.0.0.1:1", user))}})
		create(t, c, &v1alpha1.MemberCluster{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.MemberClusterSpec{Kubeconfig: &v1alpha1.KubeconfigRef{SecretName: name, Insecure: true}}})
		awaitMember(t, c, name, v1alpha1.ConditionReady, metav1.ConditionFalse, "KubeconfigInvalid")
	}
}

// kubeconfigOf is kubeconfigWith more fields of the cluster, at an address where nothing listens.
func kubeconfigOf(cluster, user string) string {
	return strings.Replace(kubeconfigWith("https://127.0.0.1:1", user), "cluster: {server:", "cluster: {"+strings.TrimPrefix(cluster+", ", ", ")+"server:", 1)
}

func kubeconfigWith(server, user string) string {
	return fmt.Sprintf("{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a, user: a}}], clusters: [{name: a, cluster: {server: %q}}], users: [{name: a, user: {%s}}]}", server, user)
}

func wrongToken(t *testing.T) string {
	t.Helper()
	kubeconfig, err := bed.Cluster("illmatic").KubeconfigWithToken("wrong")
	testkit.Must(t, err)
	return string(kubeconfig)
}
