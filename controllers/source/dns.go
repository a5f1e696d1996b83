package source

import (
	"fmt"
	"strconv"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/message"
)

// DNS is what a source says about the DNS records of its hosts. The zero value says
// nothing.
type DNS struct {
	// None means that no records are wanted.
	None bool
	// TTL of the records in seconds; 0 if the source does not say.
	TTL int32
	// CloudflareProxied is "true" or "false"; empty if the source does not say.
	CloudflareProxied string
}

// Spec returns the setting as an ExposedHost records it; nil for the zero value.
func (d DNS) Spec() *v1alpha1.HostDNS {
	if d == (DNS{}) {
		return nil
	}
	spec := &v1alpha1.HostDNS{TTL: d.TTL}
	if d.None {
		spec.Policy = v1alpha1.DNSNone
	}
	if d.CloudflareProxied != "" {
		proxied := d.CloudflareProxied == "true"
		spec.CloudflareProxied = &proxied
	}
	return spec
}

// RecordedDNS returns the setting that an ExposedHost records; the zero value for nil.
func RecordedDNS(spec *v1alpha1.HostDNS) DNS {
	if spec == nil {
		return DNS{}
	}
	d := DNS{None: spec.Policy == v1alpha1.DNSNone, TTL: spec.TTL}
	if spec.CloudflareProxied != nil {
		d.CloudflareProxied = strconv.FormatBool(*spec.CloudflareProxied)
	}
	return d
}

// readDNS reads the annotations about DNS records.
func readDNS(annotations map[string]string) (DNS, *malformed) {
	var d DNS
	publish, err := readTruth(annotations, v1alpha1.AnnotationDNS)
	if err != nil {
		return DNS{}, &malformed{v1alpha1.AnnotationDNS, err}
	}
	d.None = publish == "false"
	if d.CloudflareProxied, err = readTruth(annotations, v1alpha1.AnnotationDNSCloudflareProxied); err != nil {
		return DNS{}, &malformed{v1alpha1.AnnotationDNSCloudflareProxied, err}
	}
	if d.TTL, err = readTTL(annotations); err != nil {
		return DNS{}, &malformed{v1alpha1.AnnotationDNSTTL, err}
	}
	return d, nil
}

// readTruth returns "true" or "false"; "" if the annotation is missing.
func readTruth(annotations map[string]string, name string) (string, error) {
	value, given := annotations[name]
	if given && value != "true" && value != "false" {
		return "", fmt.Errorf("%s is neither true nor false", message.Quote(value))
	}
	return value, nil
}

func readTTL(annotations map[string]string) (int32, error) {
	value, given := annotations[v1alpha1.AnnotationDNSTTL]
	if !given {
		return 0, nil
	}
	seconds, err := strconv.ParseUint(value, 10, 31)
	if err != nil || seconds == 0 || seconds > v1alpha1.MaxDNSTTL {
		return 0, fmt.Errorf("%s is not a number of seconds from 1 to %d, such as 300", message.Quote(value), v1alpha1.MaxDNSTTL)
	}
	return int32(seconds), nil
}
