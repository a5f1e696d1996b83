package controllers_test

import (
	"crypto/x509"
	"fmt"
	"math/big"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/hack/test/testkit"
)

// A Traefik writes the statuses that usher decides by: of one Gateway whose status has no
// address, and of two of which one has the address of the ingress.
func TestTraefikAsControllerOfGateways(t *testing.T) {
	c := edge(t)
	table := startUsher(t)
	hades := bed.Cluster("hades")
	testkit.Must(t, hades.InstallGatewayCRDs(t.Context()))
	addMember(t, c, "hades", nil)
	create(t, clientOf(t, "hades"), certificateSecret(t, "gateway-cert"))
	apply(t, "hades", "{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: traefik}, spec: {controllerName: traefik.io/gateway-controller}}")
	traefik, err := hades.StartTraefik(t.Context(), "--providers.kubernetesgateway=true")
	testkit.Must(t, err)
	front := func(port uint16) string {
		return fmt.Sprintf(`
{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: front, namespace: default}, spec: {gatewayClassName: traefik, listeners: [
  {name: https, port: %d, protocol: HTTPS, hostname: "*.gw.is", tls: {certificateRefs: [{name: gateway-cert}]}, allowedRoutes: {namespaces: {from: All}}}]}}`, port)
	}
	apply(t, "hades", front(traefik.HTTPS.Port()))
	apply(t, "hades", routeOf(gatewayVersion, "HTTPRoute", "web", "web.gw.is", "{name: front}"))
	apply(t, "hades", routeOf(gatewayVersion, "GRPCRoute", "grpc", "grpc.gw.is", "{name: front}"))
	for _, host := range []string{"web.gw.is", "grpc.gw.is"} {
		routed(t, table, host, "hades")
	}

	// A Gateway of another controller comes. Then Traefik says where its own is.
	apply(t, "hades", gateway("inner", "cilium"))
	apply(t, "hades", routeOf(gatewayVersion, "HTTPRoute", "inner", "inner.gw.is", "{name: inner}"))
	setStatus(t, "hades", "httproute", "inner", acceptedFor("io.cilium/gateway-controller", `{"name": "inner"}`))
	for _, host := range []string{"web.gw.is", "grpc.gw.is", "inner.gw.is"} {
		awaitHost(t, c, host, refused("GatewayElsewhere"))
	}
	traefik.Stop()
	traefik, err = hades.StartTraefik(t.Context(), "--providers.kubernetesgateway=true", "--providers.kubernetesgateway.statusaddress.ip="+addressOf["hades"])
	testkit.Must(t, err)
	t.Cleanup(traefik.Stop)
	testkit.Must(t, hades.Apply(t.Context(), front(traefik.HTTPS.Port())))
	for _, host := range []string{"web.gw.is", "grpc.gw.is"} {
		routedTo(t, table, host, addressOf["hades"])
	}
	awaitHost(t, c, "inner.gw.is", refused("GatewayElsewhere"))

	// The statuses that Traefik writes again and again withdraw nothing.
	testkit.Consistently(t, 2*time.Second, "the hosts should stay", func() error {
		for _, host := range []string{"web.gw.is", "grpc.gw.is"} {
			if route := table.Load().Lookup(host); route == nil || route.Refusal != "" {
				return fmt.Errorf("%s is %+v", host, route)
			}
		}
		return nil
	})
	setIngress(t, c, "hades", func(ingress *v1alpha1.IngressEndpoint) { ingress.Addresses = []string{"192.0.2.11"} })
	awaitHost(t, c, "web.gw.is", refused("GatewayElsewhere"))
}

// certificateSecret is a Secret default/NAME with a self-signed certificate.
func certificateSecret(t *testing.T, name string) *corev1.Secret {
	t.Helper()
	certificate, key := selfSigned(t, &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"*.gw.is"}, NotAfter: time.Now().Add(time.Hour)})
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{
			corev1.TLSCertKey:       certificate,
			corev1.TLSPrivateKeyKey: key,
		},
	}
}
