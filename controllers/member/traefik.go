package member

import (
	"maps"
	"regexp"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
	"github.com/jovalle/usher/controllers/source/traefik"
	"github.com/jovalle/usher/controllers/source/traefikrule"
)

// Traefik is what is known of a member's Traefik.
type Traefik struct {
	// Version from the Service's label, such as v3.7.13; empty if it is not known.
	Version string
	// RuleSyntax of rules whose route does not set it; empty if it is not known.
	RuleSyntax v1alpha1.RuleSyntax
	// DetectedBy says where RuleSyntax comes from.
	DetectedBy string
}

// The labels of Traefik's Service that are read. Traefik's Helm chart sets labelChart.
// Version 28 and later of that chart install Traefik 3 only.
const (
	labelVersion = "app.kubernetes.io/version"

	firstChartOfV2 = 3 // older charts of this name installed Traefik 1
	firstChartOfV3 = 28
)

// These patterns also bound what a member can write into a status: a label has at
// most 63 characters.
var (
	versionPattern = regexp.MustCompile(`^v?([0-9]{1,3})\.([0-9]{1,3})(\.[0-9]{1,3})?([-+_.][0-9A-Za-z.+_-]{0,40})?$`)
)

// detectTraefik detects a Traefik's version and rule syntax from the labels of its
// Service, which may be nil, or else from its CRDs.
func detectTraefik(service *corev1.Service, kinds traefikKinds) Traefik {
	var t Traefik
	if service != nil {
		name := types.NamespacedName{Namespace: service.Namespace, Name: service.Name}.String()
		if t = traefikOfVersion(service.Labels[labelVersion], "label "+labelVersion+" of Service "+name); t.RuleSyntax != "" {
			return t
		}
		if t.RuleSyntax = syntaxOfChart(service.Labels[source.LabelChart]); t.RuleSyntax != "" {
			t.DetectedBy = "label " + source.LabelChart + " of Service " + name
			return t
		}
	}
	t.RuleSyntax, t.DetectedBy = kinds.ruleSyntax()
	return t
}

// traefikOfVersion returns the Traefik with a version, which may be anything, and where the
// version comes from.
func traefikOfVersion(version, by string) (t Traefik) {
	if !versionPattern.MatchString(version) {
		return t
	}
	t.Version = version
	if t.RuleSyntax = syntaxOfVersion(version); t.RuleSyntax != "" {
		t.DetectedBy = by
	}
	return t
}

// syntaxOfVersion returns the default syntax of rules of a version of Traefik.
func syntaxOfVersion(version string) v1alpha1.RuleSyntax {
	switch major, _ := majorAndMinor(version); major {
	case 2:
		return v1alpha1.RuleSyntaxV2
	case 3:
		return v1alpha1.RuleSyntaxV3
	}
	return ""
}

// syntaxOfChart returns the default syntax of the Traefik that a Helm chart installs.
func syntaxOfChart(label string) v1alpha1.RuleSyntax {
	match := source.TraefikChart.FindStringSubmatch(label)
	if match == nil {
		return ""
	}
	switch chart, _ := strconv.Atoi(match[1]); {
	case chart >= firstChartOfV3:
		return v1alpha1.RuleSyntaxV3
	case chart >= firstChartOfV2:
		return v1alpha1.RuleSyntaxV2
	}
	return ""
}

// majorAndMinor parses a version. Both are 0 if it is not one.
func majorAndMinor(version string) (major, minor int) {
	if match := versionPattern.FindStringSubmatch(version); match != nil {
		major, _ = strconv.Atoi(match[1])
		minor, _ = strconv.Atoi(match[2])
	}
	return major, minor
}

// withoutWildcards returns the version of a Traefik before 3.7: in its rules, Host(`*.x`)
// matches no host. It is empty for 3.7 and later, and if the version is not known.
func (t Traefik) withoutWildcards() string {
	if major, minor := majorAndMinor(t.Version); t.Version == "" || major > 3 || major == 3 && minor >= 7 {
		return ""
	}
	return t.Version
}

// ruleSyntax returns the syntax that sources are read in.
func (t Traefik) ruleSyntax() traefikrule.Syntax {
	switch t.RuleSyntax {
	case v1alpha1.RuleSyntaxV2:
		return traefikrule.V2
	case v1alpha1.RuleSyntaxV3:
		return traefikrule.V3
	}
	return traefikrule.Absent
}

// traefik returns what is known of the member's Traefik. The rule syntax of the
// MemberCluster takes precedence over the detected one.
func (s *session) traefik() Traefik {
	s.mu.Lock()
	t := s.detected
	s.mu.Unlock()
	if syntax := s.listener.rules().RuleSyntax; syntax != "" {
		t.RuleSyntax, t.DetectedBy = syntax, "spec.ingress.ruleSyntax"
	}
	return t
}

// detect detects the member's Traefik again. If the result has changed, all rules are
// read again, since they may match other hosts now.
func (s *session) detect() {
	s.detecting.Lock()
	defer s.detecting.Unlock()
	service := s.service()
	ports := source.EntryPointsOf(service)
	s.mu.Lock()
	before, portsBefore := s.detected, s.ports
	s.detected, s.ports = detectTraefik(service, s.traefikKinds), ports
	news, moved := s.detected != before, !maps.EqualFunc(ports, portsBefore, slices.Equal)
	s.mu.Unlock()
	if news {
		s.reader.readKindsAgain(traefikRuleKinds...)
	}
	if moved {
		s.reader.readAgain(s.all())
	}
	if news || moved {
		s.listener.stateChanged(s)
	}
}

// traefikRuleKinds are the sources that have rules.
var traefikRuleKinds = func() []int {
	var kinds []int
	for _, kind := range []string{source.KindIngressRoute, source.KindIngressRouteTCP} {
		kinds = append(kinds, kindIndex(traefik.GroupVersion.WithKind(kind)), kindIndex(traefik.ContainousGroupVersion.WithKind(kind)))
	}
	return kinds
}()

// service returns the watched Service; nil if it does not exist or has not been read.
func (s *session) service() *corev1.Service {
	service, _ := s.get(serviceKind, s.config.Service.Namespace, s.config.Service.Name).(*corev1.Service)
	return service
}

// entryPoints returns the entry points of Traefik that TLS connections and plain HTTP
// from usher come to; nil if they are not known. Those of the MemberCluster come first.
func (s *session) entryPoints() (https, http []string) {
	rules := s.listener.rules()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(rules.EntryPoints) > 0:
		https = rules.EntryPoints
	case s.routers == nil:
		https = s.ports[rules.HTTPSPort]
	case s.config.Traefik.PublicEntryPoint != "":
		https = []string{s.config.Traefik.PublicEntryPoint}
	}
	return https, s.ports[rules.HTTPPort]
}

// tlsPorts returns the member's TLS ports other than https, with their entry points.
func (s *session) tlsPorts() []source.Port {
	rules := s.listener.rules()
	s.mu.Lock()
	defer s.mu.Unlock()
	return source.PortsOf(rules.Ports, s.ports)
}
