package enroll

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/jovalle/usher/hack/test/testkit"
)

func TestStaticConfigOfFlags(t *testing.T) {
	chart := []string{
		"--global.checkNewVersion", "--entryPoints.metrics.address=:9100/tcp", "--entryPoints.web.address=:8000/tcp",
		"--entryPoints.websecure.address=:8443/tcp", "--entryPoints.dns.address=:5300/udp", "--entryPoints.websecure.http.tls=true",
	}
	for _, test := range []struct {
		name  string
		args  []string
		want  string // as serves says
		ports string
	}{
		{"the chart's defaults", append(chart, "--providers.kubernetescrd", "--providers.kubernetesingress"), "no ingress class", "metrics:9100 web:8000 websecure:8443"},
		{"the chart's classes", append(chart, "--providers.kubernetescrd", "--providers.kubernetescrd.ingressClass=internal", "--providers.kubernetesingress", "--providers.kubernetesingress.ingressClass=internal"), "ingress class internal", "metrics:9100 web:8000 websecure:8443"},
		{"one class", []string{"--providers.kubernetescrd", "--providers.kubernetesingress.ingressclass=internal"}, "IngressRoutes: no ingress class, Ingresses: ingress class internal", ""},
		{"a value in the next argument", []string{"--Providers.KubernetesCRD.IngressClass", "internal", "--providers.kubernetesingress=true"}, "IngressRoutes: ingress class internal, Ingresses: no ingress class", ""},
		{"one hyphen", []string{"-providers.kubernetescrd.ingressclass=internal"}, "only IngressRoutes, ingress class internal", ""},
		{"a provider that is switched off", []string{"--providers.kubernetescrd=false", "--providers.kubernetesingress"}, "only Ingresses, no ingress class", ""},
		{"neither provider", []string{"--providers.kubernetesgateway"}, "neither IngressRoutes nor Ingresses", ""},
		{"the last of two", []string{"--providers.kubernetescrd.ingressclass=a", "--providers.kubernetescrd.ingressclass=b"}, "only IngressRoutes, ingress class b", ""},
		{"addresses of all forms", []string{"--providers.kubernetescrd", "--entrypoints.Six.address=[::1]:443", "--entrypoints.none.address=:0", "--entrypoints.bad.address=x", "--entrypoints.a.b.address=:1", "--entrypoints.\x1b[2J.address=:1"}, "only IngressRoutes, no ingress class", "Six:443"},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, err := staticConfigOf(&corev1.PodSpec{Containers: []corev1.Container{{Name: "sidecar", Args: []string{"--verbose"}}, {Name: "traefik", Args: test.args}}})
			testkit.Must(t, err)
			if got := config.serves(); got != test.want {
				t.Errorf("serves %q, want %q", got, test.want)
			}
			var ports []string
			for _, name := range slices.Sorted(maps.Keys(config.entryPoints)) {
				ports = append(ports, fmt.Sprintf("%s:%d", name, config.entryPoints[name]))
			}
			if got := strings.Join(ports, " "); got != test.ports {
				t.Errorf("entry points %q, want %q", got, test.ports)
			}
		})
	}
}

func TestStaticConfigThatIsNotKnown(t *testing.T) {
	crd := "--providers.kubernetescrd"
	for _, test := range []struct {
		name  string
		pod   corev1.Container
		wants string
	}{
		{"no flags", corev1.Container{Args: []string{"--verbose"}}, "file or in environment variables"},
		{"a shell", corev1.Container{Command: []string{"/bin/sh", "-c", "traefik " + crd}}, "file or in environment variables"},
		{"a file", corev1.Container{Args: []string{"--configFile=/data/traefik.yml"}}, "--configfile"},
		{"a file in the next argument", corev1.Container{Args: []string{"--configfile", "/data/traefik.yml", crd}}, "--configfile"},
		{"a file in the default folder", corev1.Container{Args: []string{crd}, VolumeMounts: []corev1.VolumeMount{{MountPath: "/etc/traefik/traefik.yml"}}}, "/etc/traefik/traefik.yml"},
		{"the default folder", corev1.Container{Args: []string{crd}, VolumeMounts: []corev1.VolumeMount{{MountPath: "/etc/traefik/"}}}, `"/etc/traefik"`},
		{"the provider for nginx", corev1.Container{Args: []string{crd, "--providers.kubernetesIngressNGINX.watchNamespace=a"}}, "kubernetesingressnginx"},
		{"no lookup of classes", corev1.Container{Args: []string{crd, "--providers.kubernetesingress.disableClusterScopeResources=true"}}, "disableclusterscoperesources"},
		{"a variable", corev1.Container{Args: []string{crd + ".ingressclass=$(CLASS)"}}, "$(CLASS)"},
		{"control characters", corev1.Container{Args: []string{crd + ".ingressclass=\x1b[2J"}}, `\x1b[2J`},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, err := staticConfigOf(&corev1.PodSpec{Containers: []corev1.Container{test.pod}})
			if err == nil {
				t.Fatalf("read as %+v", config)
			}
			wantText(t, err.Error(), test.wants)
			if strings.ContainsRune(err.Error(), '\x1b') {
				t.Errorf("the terminal is written to: %q", err)
			}
		})
	}
	for _, harmless := range []corev1.Container{
		{Args: []string{crd, "--providers.kubernetesingressnginx=false"}},
		{Args: []string{crd}, VolumeMounts: []corev1.VolumeMount{{MountPath: "/etc/traefik/dynamic"}}},
	} {
		_, err := staticConfigOf(&corev1.PodSpec{Containers: []corev1.Container{harmless}})
		testkit.Must(t, err)
	}
}

func TestOptionsThatExcludeObjects(t *testing.T) {
	config, err := staticConfigOf(&corev1.PodSpec{Containers: []corev1.Container{{Args: []string{"--providers.kubernetesCRD.namespaces=a,b", "--providers.kubernetesingress.labelSelector=x=y"}}}})
	testkit.Must(t, err)
	if got := strings.Join(config.limits, " "); got != "--providers.kubernetescrd.namespaces --providers.kubernetesingress.labelselector" {
		t.Errorf("limits %q", got)
	}
}
