package controllers_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
)

const month = 30 * 24 * time.Hour

// A certificate in a kubeconfig that ends is reported 30 days before, once, and again when
// it has ended. The member stays ready, since its API server still answers.
func TestCredentialsThatEnd(t *testing.T) {
	c := edge(t)
	startUsher(t)
	addMember(t, c, "hades", nil)
	mc := awaitMember(t, c, "hades", v1alpha1.ConditionCredentialsValid, metav1.ConditionTrue, "CredentialsValid")
	if expiry := mc.Status.CredentialsExpiry; expiry == nil || time.Until(expiry.Time) < month {
		t.Fatalf("the CA of the test bed ends at %v", expiry)
	}

	// Time passes: nothing changes but the clock.
	end := time.Now().Add(month + 4*time.Second).Truncate(time.Second)
	setClientCertificate(t, c, end)
	awaitExpiry(t, c, end)
	awaitMember(t, c, "hades", v1alpha1.ConditionCredentialsValid, metav1.ConditionTrue, "CredentialsValid")
	mc = awaitMember(t, c, "hades", v1alpha1.ConditionCredentialsValid, metav1.ConditionFalse, "CredentialsExpiring")
	says := meta.FindStatusCondition(mc.Status.Conditions, v1alpha1.ConditionCredentialsValid).Message
	for _, part := range []string{"Secret hades-kubeconfig, key kubeconfig", "client-certificate-data", end.UTC().Format(time.RFC3339), "usher cluster add hades"} {
		if !strings.Contains(says, part) {
			t.Errorf("%q is missing in %s", part, says)
		}
	}
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
	awaitEvent(t, c, "hades", "CredentialsExpiring")
	testkit.Eventually(t, "the metric", func() error {
		return holds(samples(t), map[string]float64{"usher_member_credentials_expiry_timestamp_seconds cluster=hades": float64(end.Unix())})
	})

	end = time.Now().Add(4 * time.Second).Truncate(time.Second)
	setClientCertificate(t, c, end)
	awaitExpiry(t, c, end)
	awaitMember(t, c, "hades", v1alpha1.ConditionCredentialsValid, metav1.ConditionFalse, "CredentialsExpired")
	awaitEvent(t, c, "hades", "CredentialsExpired")
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")

	// A new Secret ends the report.
	setKubeconfig(t, c, func(*clientcmdapi.AuthInfo) {})
	awaitMember(t, c, "hades", v1alpha1.ConditionCredentialsValid, metav1.ConditionTrue, "CredentialsValid")
	if n := eventsOf(t, c, "CredentialsExpiring"); n != 2 { // for each of the two ends
		t.Errorf("%d Events about the coming ends, want 2", n)
	}

	// What is malformed is refused, and named without its content.
	setKubeconfig(t, c, func(user *clientcmdapi.AuthInfo) {
		user.ClientCertificateData, user.ClientKeyData = []byte("hush-hush"), []byte("hush-hush")
	})
	mc = awaitMember(t, c, "hades", v1alpha1.ConditionConnected, metav1.ConditionFalse, "KubeconfigInvalid")
	says = meta.FindStatusCondition(mc.Status.Conditions, v1alpha1.ConditionConnected).Message
	if !strings.Contains(says, "Secret hades-kubeconfig, key kubeconfig: ") || !strings.Contains(says, "client-certificate-data: ") || strings.Contains(says, "hush") {
		t.Errorf("it says %s", says)
	}
	if is := meta.FindStatusCondition(mc.Status.Conditions, v1alpha1.ConditionCredentialsValid); is != nil || mc.Status.CredentialsExpiry != nil {
		t.Errorf("of a kubeconfig that cannot be read it says %+v, %v", is, mc.Status.CredentialsExpiry)
	}
}

// The token of a ServiceAccount that was requested for a day.
func TestTokenThatEnds(t *testing.T) {
	c := edge(t)
	startUsher(t)
	apply(t, "hades", `{apiVersion: v1, kind: ServiceAccount, metadata: {name: day, namespace: default}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: day},
 roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}, subjects: [{kind: ServiceAccount, name: day, namespace: default}]}`)
	kubeconfig, err := bed.Cluster("hades").KubeconfigFor(t.Context(), "default", "day")
	testkit.Must(t, err)
	addMember(t, c, "hades", nil)
	writeKubeconfig(t, c, kubeconfig)
	mc := awaitMember(t, c, "hades", v1alpha1.ConditionCredentialsValid, metav1.ConditionFalse, "CredentialsExpiring")
	says := meta.FindStatusCondition(mc.Status.Conditions, v1alpha1.ConditionCredentialsValid).Message
	config, err := clientcmd.Load(kubeconfig)
	testkit.Must(t, err)
	if !strings.Contains(says, "key kubeconfig: token of the kubeconfig ends at ") || strings.Contains(says, config.AuthInfos["hades"].Token) {
		t.Errorf("it says %s", says)
	}
	if left := time.Until(mc.Status.CredentialsExpiry.Time); left > 24*time.Hour || left < 23*time.Hour {
		t.Errorf("the token ends in %v", left)
	}
	awaitMember(t, c, "hades", v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready")
}

// awaitExpiry waits until the status has the end of the credentials.
func awaitExpiry(t *testing.T, c client.Client, end time.Time) {
	t.Helper()
	testkit.Eventually(t, "the end of the credentials", func() error {
		var mc v1alpha1.MemberCluster
		testkit.Must(t, c.Get(t.Context(), client.ObjectKey{Name: "hades"}, &mc))
		if got := mc.Status.CredentialsExpiry; got == nil || !got.Time.Equal(end) {
			return fmt.Errorf("is %v, want %v", got, end)
		}
		return nil
	})
}

// eventsOf counts the Events about hades with a reason that are of this test.
func eventsOf(t *testing.T, c client.Client, reason string) (n int) {
	t.Helper()
	var mc v1alpha1.MemberCluster
	testkit.Must(t, c.Get(t.Context(), client.ObjectKey{Name: "hades"}, &mc))
	var list corev1.EventList
	testkit.Must(t, c.List(t.Context(), &list))
	for i := range list.Items {
		if e := &list.Items[i]; e.InvolvedObject.UID == mc.UID && e.Reason == reason {
			n += max(1, int(e.Count))
		}
	}
	return n
}

// setClientCertificate puts a client certificate beside the token of hades. Its API server
// does not ask for one.
func setClientCertificate(t *testing.T, c client.Client, end time.Time) {
	t.Helper()
	certificate, key := selfSigned(t, &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: end})
	setKubeconfig(t, c, func(user *clientcmdapi.AuthInfo) {
		user.ClientCertificateData = certificate
		user.ClientKeyData = key
	})
}

// setKubeconfig writes the kubeconfig of hades with a change of its user.
func setKubeconfig(t *testing.T, c client.Client, change func(*clientcmdapi.AuthInfo)) {
	t.Helper()
	kubeconfig, err := bed.Cluster("hades").Kubeconfig()
	testkit.Must(t, err)
	config, err := clientcmd.Load(kubeconfig)
	testkit.Must(t, err)
	user := config.AuthInfos[config.Contexts[config.CurrentContext].AuthInfo]
	if user == nil {
		testkit.Must(t, errors.New("the kubeconfig has no user"))
	}
	change(user)
	kubeconfig, err = clientcmd.Write(*config)
	testkit.Must(t, err)
	writeKubeconfig(t, c, kubeconfig)
}

func writeKubeconfig(t *testing.T, c client.Client, kubeconfig []byte) {
	t.Helper()
	testkit.Eventually(t, "the Secret to be written", func() error {
		var secret corev1.Secret
		testkit.Must(t, c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "hades-kubeconfig"}, &secret))
		secret.Data["kubeconfig"] = kubeconfig
		return c.Update(t.Context(), &secret)
	})
}
