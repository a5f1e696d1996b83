package dnsrecord

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1"
)

// Types of records.
const (
	typeA     = "A"
	typeAAAA  = "AAAA"
	typeCNAME = "CNAME"
)

// Views are all views, in the order in which records are listed.
var Views = []v1alpha1.DNSView{v1alpha1.DNSPublic, v1alpha1.DNSInternal}

// ErrTargetItself means that a host would be a CNAME of itself.
var ErrTargetItself = errors.New("the host is the target of its own CNAME record")

// Records are the records of one host in one view.
type Records struct {
	View v1alpha1.DNSView
	Host string // canonical; a wildcard begins with "*."
	// Sets are the records, one set for each type; empty if none are wanted.
	Sets []Set
	// Properties are external-dns's provider-specific properties, sorted by name.
	Properties []Property
}

// Set is the records of one type.
type Set struct {
	Type    string // A, AAAA or CNAME
	Targets []string
	TTL     int32 // in seconds; 0 for the default of the DNS provider
}

// Wanted returns the records of a host that is accepted, in one view. The error is
// ErrTargetItself.
func (c Config) Wanted(view v1alpha1.DNSView, host string, own *v1alpha1.HostDNS) (Records, error) {
	records := Records{View: view, Host: host}
	target := c.target(view)
	if own == nil {
		own = &v1alpha1.HostDNS{}
	}
	if target.empty() || own.Policy == v1alpha1.DNSNone {
		return records, nil
	}
	if target.name == host {
		return records, ErrTargetItself
	}
	ttl := c.TTL
	if own.TTL != 0 {
		ttl = own.TTL
	}
	if target.name != "" {
		records.Sets = []Set{{Type: typeCNAME, Targets: []string{target.name}, TTL: ttl}}
	}
	if len(target.v4) > 0 {
		records.Sets = append(records.Sets, Set{Type: typeA, Targets: target.v4, TTL: ttl})
	}
	if len(target.v6) > 0 {
		records.Sets = append(records.Sets, Set{Type: typeAAAA, Targets: target.v6, TTL: ttl})
	}
	if view == v1alpha1.DNSPublic {
		records.Properties = c.properties(own)
	}
	return records, nil
}

// properties returns the properties of a host's public records.
func (c Config) properties(own *v1alpha1.HostDNS) []Property {
	if own.CloudflareProxied == nil {
		return c.Properties
	}
	others := slices.DeleteFunc(slices.Clone(c.Properties), func(p Property) bool { return p.Name == PropertyCloudflareProxied })
	at, _ := slices.BinarySearchFunc(others, PropertyCloudflareProxied, func(p Property, name string) int { return strings.Compare(p.Name, name) })
	return slices.Insert(others, at, Property{PropertyCloudflareProxied, strconv.FormatBool(*own.CloudflareProxied)})
}

// Proxied reports whether Cloudflare answers for the name with its own addresses.
func (r Records) Proxied() bool {
	return slices.Contains(r.Properties, Property{PropertyCloudflareProxied, "true"})
}

// Status returns the records as the status of an ExposedHost lists them.
func (r Records) Status() []v1alpha1.DNSRecord {
	var list []v1alpha1.DNSRecord
	for _, set := range r.Sets {
		list = append(list, v1alpha1.DNSRecord{View: r.View, Type: set.Type, Targets: set.Targets, TTL: set.TTL})
	}
	return list
}
