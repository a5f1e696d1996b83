package main

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/jovalle/usher/hack/testbed"
)

// writers is how many Ingresses are written to a cluster at once.
const writers = 8

// fill writes Ingresses as people have them: made by Helm, with a certificate
// and some paths, and a status that a controller has written.
func fill(ctx context.Context, cluster *testbed.Cluster, objects, annotated int) error {
	config := cluster.Config()
	config.UserAgent = "helm" // which names the manager of the fields
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	for n := range objects {
		group.Go(func() error { return write(ctx, clientset, ingress(cluster.Name(), n, n%annotated == 0)) })
	}
	return group.Wait()
}

func write(ctx context.Context, clientset *kubernetes.Clientset, o *networkingv1.Ingress) error {
	ingresses := clientset.NetworkingV1().Ingresses(metav1.NamespaceDefault)
	made, err := ingresses.Create(ctx, o, metav1.CreateOptions{FieldManager: "helm"})
	if err != nil {
		return fmt.Errorf("create Ingress %s: %w", o.Name, err)
	}
	made.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.10", Ports: []networkingv1.IngressPortStatus{{Port: 443, Protocol: "TCP"}}}}
	if _, err := ingresses.UpdateStatus(ctx, made, metav1.UpdateOptions{FieldManager: "traefik"}); err != nil {
		return fmt.Errorf("write the status of Ingress %s: %w", o.Name, err)
	}
	return nil
}

func ingress(cluster string, n int, annotated bool) *networkingv1.Ingress {
	name := fmt.Sprintf("app-%d", n)
	host := fmt.Sprintf("%s.%s.example.org", name, cluster)
	o := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				"app.kubernetes.io/name": name, "app.kubernetes.io/instance": name, "app.kubernetes.io/version": "1.2.3",
				"app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": name + "-4.5.6",
			},
			Annotations: map[string]string{
				"cert-manager.io/cluster-issuer": "letsencrypt", "meta.helm.sh/release-name": name, "meta.helm.sh/release-namespace": "default",
				"traefik.ingress.kubernetes.io/router.entrypoints": "websecure",
				"traefik.ingress.kubernetes.io/router.middlewares": "default-headers@kubernetescrd,default-compress@kubernetescrd",
				"kubectl.kubernetes.io/last-applied-configuration": strings.Repeat(`{"kind":"Ingress","spec":{}}`, 40),
			},
		},
		Spec: networkingv1.IngressSpec{
			TLS:   []networkingv1.IngressTLS{{Hosts: []string{host}, SecretName: name + "-tls"}},
			Rules: []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: paths(name, "/", "/api", "/static", "/metrics")}}},
		},
	}
	if annotated {
		o.Annotations["usher.techn.is/expose"] = "true"
	}
	return o
}

func paths(service string, list ...string) *networkingv1.HTTPIngressRuleValue {
	prefix := networkingv1.PathTypePrefix
	rule := &networkingv1.HTTPIngressRuleValue{}
	for _, path := range list {
		rule.Paths = append(rule.Paths, networkingv1.HTTPIngressPath{
			Path: path, PathType: &prefix,
			Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Name: "http"}}},
		})
	}
	return rule
}
