package peer

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// object is a manifest: a MemberCluster or an ExposedHost.
type object map[string]any

// writeManifests writes a site's clusters and hosts into a directory of their
// own, as one List, and returns it.
func (o UsherOptions) writeManifests(s Site) (string, error) {
	var items []object
	for i := range max(o.Backends, len(s.Backends)) {
		items = append(items, o.memberCluster(clusterName(i), s.Backends[i%len(s.Backends)]))
	}
	for i, host := range s.Hosts {
		items = append(items, o.exposedHost(host, o.backendsOf(s, i)))
	}
	data, err := json.Marshal(object{"apiVersion": "v1", "kind": "List", "items": items})
	if err != nil {
		return "", err
	}
	dir := filepath.Join(s.Dir, "manifests")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "hosts.json"), data, 0o600)
}

func clusterName(backend int) string { return "cluster-" + string(rune('a'+backend)) }

func (o UsherOptions) memberCluster(name string, backend Address) object {
	ingress := object{"addresses": []string{backend.IP}, "httpsPort": backend.Port}
	if o.ProxyProtocol != "" {
		ingress["proxyProtocol"] = o.ProxyProtocol
	}
	return manifest("MemberCluster", name, object{"ingress": ingress})
}

// backendsOf returns the backends of host number i.
func (o UsherOptions) backendsOf(s Site, i int) (backends []object) {
	for n := range max(o.Backends, 1) {
		cluster := n
		if o.Backends == 0 {
			cluster = s.backendOf(i)
		}
		backends = append(backends, object{"cluster": clusterName(cluster)})
	}
	return backends
}

func (o UsherOptions) exposedHost(host string, backends []object) object {
	spec := object{"host": host, "backends": backends}
	if o.Strategy != "" {
		spec["strategy"] = o.Strategy
	}
	if len(o.AllowFrom) > 0 {
		spec["allowFrom"] = o.AllowFrom
	}
	return manifest("ExposedHost", host, spec)
}

func manifest(kind, name string, spec object) object {
	return object{"apiVersion": "usher.techn.is/v1alpha1", "kind": kind, "metadata": object{"name": name}, "spec": spec}
}
