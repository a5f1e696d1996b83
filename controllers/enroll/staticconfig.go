package enroll

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/jovalle/usher/api/v1alpha1"
)

// staticConfig is the part of a Traefik's static configuration that says what it serves.
type staticConfig struct {
	providers   v1alpha1.TraefikProviders
	entryPoints map[string]int32 // TCP entry point → port that it listens on
	limits      []string         // options that exclude objects, and that usher does not check
}

// The flags of Traefik that are read, in lower case: Traefik ignores the case of flags.
const (
	flagCRD         = "providers.kubernetescrd"
	flagIngress     = "providers.kubernetesingress"
	flagClass       = ".ingressclass" // after a provider's
	flagEntryPoints = "entrypoints."
	flagAddress     = ".address" // after an entry point's
)

// limitFlags are flags that exclude objects from a provider.
var limitFlags = []string{
	flagCRD + ".namespaces", flagCRD + ".labelselector",
	flagIngress + ".namespaces", flagIngress + ".labelselector",
}

// unreadFlags are flags whose effect on what Traefik serves usher does not know.
var unreadFlags = []string{
	"configfile",
	"providers.kubernetesingressnginx",
	flagIngress + ".disableingressclasslookup", flagIngress + ".disableclusterscoperesources",
	flagCRD + ".endpoint", flagIngress + ".endpoint",
}

// These patterns bound what a member can have written into a MemberCluster and onto a
// terminal. A class that is a variable of the container does not match.
var (
	classPattern      = regexp.MustCompile(`^[A-Za-z0-9._/-]{0,253}$`)
	entryPointPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,63}$`)
)

// maxEntryPoints is the limit of spec.ingress.entryPoints.
const maxEntryPoints = 16

// staticConfigOf returns the static configuration of the Traefik that a pod runs. The
// error says why it cannot be read.
func staticConfigOf(pod *corev1.PodSpec) (*staticConfig, error) {
	for _, container := range pod.Containers {
		flags := parseFlags(slices.Concat(container.Command, container.Args))
		if !flags.ofTraefik() {
			continue
		}
		// Traefik reads a file in its default folder instead of its flags.
		for _, mount := range container.VolumeMounts {
			if at := path.Clean(mount.MountPath); at == "/etc/traefik" || strings.HasPrefix(at, "/etc/traefik/traefik.") {
				return nil, fmt.Errorf("container %s may have a configuration file at %q", container.Name, at)
			}
		}
		return flags.staticConfig()
	}
	return nil, errors.New("no container has flags of Traefik, so its configuration is in a file or in environment variables")
}

// traefikFlags are flags of a Traefik: name in lower case → value.
type traefikFlags struct {
	values map[string]string
	spelt  map[string]string // name in lower case → as written
}

// parseFlags reads flags as Traefik does. A flag without a value is "true", unless it
// must have one: then its value is the next argument.
func parseFlags(args []string) traefikFlags {
	flags := traefikFlags{map[string]string{}, map[string]string{}}
	for i := 0; i < len(args); i++ {
		if !strings.HasPrefix(args[i], "-") {
			continue // the program
		}
		written, value, given := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		name := strings.ToLower(written)
		if !given {
			value = "true"
			if takesValue(name) && i+1 < len(args) {
				i++
				value = args[i]
			}
		}
		flags.values[name], flags.spelt[name] = value, written
	}
	return flags
}

// takesValue reports whether a flag that usher reads must have a value.
func takesValue(name string) bool {
	return strings.HasSuffix(name, flagClass) || strings.HasSuffix(name, flagAddress) || slices.Contains(limitFlags, name) || name == "configfile"
}

func (f traefikFlags) ofTraefik() bool {
	for name := range f.values {
		if strings.HasPrefix(name, flagEntryPoints) || strings.HasPrefix(name, "providers.") || name == "configfile" {
			return true
		}
	}
	return false
}

func (f traefikFlags) staticConfig() (*staticConfig, error) {
	for _, name := range slices.Sorted(maps.Keys(f.values)) {
		value := f.values[name]
		for _, unread := range unreadFlags {
			if (name == unread || strings.HasPrefix(name, unread+".")) && value != "false" {
				return nil, fmt.Errorf("usher does not know what --%s serves", unread)
			}
		}
		if strings.HasSuffix(name, flagClass) && !classPattern.MatchString(value) {
			return nil, fmt.Errorf("--%s is not a class but %q", flagClass[1:], value)
		}
	}
	config := &staticConfig{
		providers:   v1alpha1.TraefikProviders{KubernetesCRD: f.provider(flagCRD), KubernetesIngress: f.provider(flagIngress)},
		entryPoints: f.entryPoints(),
	}
	for _, name := range limitFlags {
		if f.values[name] != "" {
			config.limits = append(config.limits, "--"+name)
		}
	}
	return config, nil
}

// provider returns a provider of Traefik, which any of its flags enables; nil if it has none.
func (f traefikFlags) provider(flag string) *v1alpha1.TraefikProvider {
	if f.values[flag] == "false" {
		return nil
	}
	for name := range f.values {
		if name == flag || strings.HasPrefix(name, flag+".") {
			return &v1alpha1.TraefikProvider{IngressClass: f.values[flag+flagClass]}
		}
	}
	return nil
}

func (f traefikFlags) entryPoints() map[string]int32 {
	ports := map[string]int32{}
	for name, value := range f.values {
		if !strings.HasPrefix(name, flagEntryPoints) || !strings.HasSuffix(name, flagAddress) {
			continue
		}
		entryPoint := f.spelt[name][len(flagEntryPoints) : len(name)-len(flagAddress)]
		address, protocol, _ := strings.Cut(value, "/")
		port, err := strconv.ParseUint(address[strings.LastIndex(address, ":")+1:], 10, 16)
		if err == nil && port > 0 && !strings.EqualFold(protocol, "udp") && entryPointPattern.MatchString(entryPoint) {
			ports[entryPoint] = int32(port)
		}
	}
	return ports
}

// listeningOn returns the entry points that listen on a port, sorted.
func (c *staticConfig) listeningOn(port int32) []string {
	var names []string
	for name, p := range c.entryPoints {
		if p == port {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names[:min(len(names), maxEntryPoints)]
}

// hasClass reports whether a provider serves an ingress class only.
func (c *staticConfig) hasClass() bool {
	for _, provider := range []*v1alpha1.TraefikProvider{c.providers.KubernetesCRD, c.providers.KubernetesIngress} {
		if provider != nil && provider.IngressClass != "" {
			return true
		}
	}
	return false
}

// serves returns which classes the Traefik serves, for a person.
func (c *staticConfig) serves() string {
	crd, ingress := c.providers.KubernetesCRD, c.providers.KubernetesIngress
	switch {
	case crd == nil && ingress == nil:
		return "neither IngressRoutes nor Ingresses"
	case crd == nil:
		return "only Ingresses, " + class(ingress)
	case ingress == nil:
		return "only IngressRoutes, " + class(crd)
	case *crd == *ingress:
		return class(crd)
	}
	return fmt.Sprintf("IngressRoutes: %s, Ingresses: %s", class(crd), class(ingress))
}

func class(provider *v1alpha1.TraefikProvider) string {
	if provider.IngressClass == "" {
		return "no ingress class"
	}
	return "ingress class " + provider.IngressClass
}
