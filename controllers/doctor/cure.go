package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/proxy/routing"
)

// The commands address a member by the context that has its name, as usher cluster add
// uses it.

// readdress sets the addresses of the backend.
func (b *backend) readdress() []string {
	if b.Cluster != "" {
		return []string{atEdge("membercluster "+b.Cluster, `{"spec":{"ingress":{"addresses":["ADDRESS"],"httpsPort":PORT}}}`)}
	}
	return []string{b.patchBackend(`[{"op":"add","path":"/spec/backends/%[1]d/address","value":"ADDRESS"},{"op":"add","path":"/spec/backends/%[1]d/httpsPort","value":PORT}]`, b.specIndex())}
}

// setProxyProtocol sets a field that says which PROXY header usher sends.
func (b *backend) setProxyProtocol(field string, to routing.ProxyProtocol) []string {
	switch {
	case b.Cluster != "":
		return []string{atEdge("membercluster "+b.Cluster, fmt.Sprintf(`{"spec":{"ingress":{%q:%q}}}`, field, to.String()))}
	case to == routing.None:
		return []string{b.patchBackend(`[{"op":"remove","path":"/spec/backends/%d/%s"}]`, b.specIndex(), field)}
	}
	return []string{b.patchBackend(`[{"op":"add","path":"/spec/backends/%d/%s","value":%q}]`, b.specIndex(), field, to.String())}
}

// specIndex returns the place of an address among the spec's backends.
func (b *backend) specIndex() int {
	return max(0, slices.IndexFunc(b.host.Written, func(w v1alpha1.HostBackend) bool {
		return w.Cluster == "" && slices.Contains(b.Addresses, w.Address) && (w.HTTPSPort == 0 || w.HTTPSPort == int32(b.HTTPSPort))
	}))
}

func (b *backend) patchBackend(format string, args ...any) string {
	return fmt.Sprintf("kubectl patch exposedhost %s --type=json --patch='%s'", b.host.Name, fmt.Sprintf(format, args...))
}

// atEdge returns a command that patches an object of the edge cluster.
func atEdge(object, change string) string { return "kubectl " + patch(object, change) }

func patch(object, change string) string {
	return fmt.Sprintf("patch %s --type=merge --patch='%s'", object, change)
}

// inMember returns a command of kubectl for an object of a member.
func inMember(ref v1alpha1.SourceRef, command string) string {
	if ref.IsRouter() {
		return fmt.Sprintf("# where Traefik of %s has the router %s@%s from (docs/docker.md), do what this does for an object of Kubernetes: %s", ref.Cluster, ref.Name, ref.Namespace, command)
	}
	return fmt.Sprintf("kubectl --context %s --namespace %s %s", ref.Cluster, ref.Namespace, command)
}

// sources returns the objects of the backend's cluster that publish the host.
func (b *backend) sources() []v1alpha1.SourceRef {
	var own []v1alpha1.SourceRef
	for _, ref := range b.host.Sources {
		if ref.Cluster == b.Cluster {
			own = append(own, ref)
		}
	}
	return own[:min(len(own), maxNamed)]
}

// setCertificate gives the host a certificate of its own.
func (b *backend) setCertificate() []string {
	secret := strings.ReplaceAll(strings.TrimPrefix(b.host.Host, "*."), ".", "-") + "-tls"
	var commands []string
	for _, ref := range b.sources() {
		commands = append(commands, inMember(ref, fmt.Sprintf("create secret tls %s --cert=FULLCHAIN --key=KEY --dry-run=client --output=yaml", secret))+" | "+inMember(ref, "apply --filename=-"))
		switch ref.Kind {
		case "IngressRoute":
			commands = append(commands, inMember(ref, patch("ingressroute.traefik.io "+ref.Name, fmt.Sprintf(`{"spec":{"tls":{"secretName":%q}}}`, secret))))
		case "Ingress":
			commands = append(commands, inMember(ref, patch("ingress "+ref.Name, fmt.Sprintf(`{"spec":{"tls":[{"hosts":[%q],"secretName":%q}]}}`, b.host.Host, secret))))
		default:
			commands = append(commands, inMember(ref, fmt.Sprintf("edit %s %s", strings.ToLower(ref.Kind), ref.Name)))
		}
	}
	if len(commands) == 0 {
		return []string{fmt.Sprintf("openssl s_client -connect %s -servername %s </dev/null   # renew the certificate there", strings.Join(b.Addresses, ","), b.host.asked())}
	}
	return commands
}

// isolate lets Traefik refuse requests for other hosts.
func (b *backend) isolate() []string {
	if b.Cluster == "" {
		return b.withdraw()
	}
	return []string{fmt.Sprintf("usher cluster isolate %s --context %s --patch", b.Cluster, b.Cluster)}
}

// withdraw ends the publication of the host.
func (b *backend) withdraw() []string {
	sources := b.sources()
	if len(sources) == 0 {
		return []string{"kubectl delete exposedhost " + b.host.Name}
	}
	var commands []string
	for _, ref := range sources {
		commands = append(commands, annotate(ref, v1alpha1.AnnotationExpose+"-"))
	}
	return commands
}

// endLoop has the name answered without the CDN.
func (h *Host) endLoop() []string {
	var commands []string
	for _, ref := range h.Sources[:min(len(h.Sources), maxNamed)] {
		if h.PlainOnly {
			commands = append(commands, inMember(ref, fmt.Sprintf("edit %s %s   # serve the host on the entry point for TLS", strings.ToLower(ref.Kind), ref.Name)))
			continue
		}
		commands = append(commands, annotate(ref, "--overwrite "+v1alpha1.AnnotationDNSCloudflareProxied+"=false")+"   # or set Cloudflare's mode to Full (strict)")
	}
	if len(commands) == 0 {
		return []string{atEdge("exposedhost "+h.Name, `{"spec":{"dns":{"cloudflareProxied":false}}}`)}
	}
	return commands
}

func annotate(ref v1alpha1.SourceRef, change string) string {
	return inMember(ref, fmt.Sprintf("annotate %s %s %s", strings.ToLower(ref.Kind), ref.Name, change))
}
