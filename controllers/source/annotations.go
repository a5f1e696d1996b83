package source

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/allowfrom"
	"github.com/jovalle/usher/controllers/message"
)

// request is the content of an object's annotations.
type request struct {
	options Options
	hosts   []string // of AnnotationHosts, as they are written
	named   bool     // whether AnnotationHosts is set
}

// prefix is the prefix of all annotations of usher.
var prefix = v1alpha1.GroupVersion.Group + "/"

// known are usher's annotations on sources.
var known = []string{
	v1alpha1.AnnotationExpose, v1alpha1.AnnotationHosts,
	v1alpha1.AnnotationPlainHTTP, v1alpha1.AnnotationAllowFrom,
	v1alpha1.AnnotationPorts, v1alpha1.AnnotationWildcard, v1alpha1.AnnotationShareBelow,
	v1alpha1.AnnotationShare, v1alpha1.AnnotationStrategy, v1alpha1.AnnotationWeight,
}

// malformed is an annotation that cannot be parsed.
type malformed struct {
	annotation string
	err        error
}

// readAnnotations reads an object's annotations. If one is malformed, the options
// are zero but the hosts are set, so that each of them gets the refusal.
func readAnnotations(annotations map[string]string) (request, *malformed) {
	var w request
	list, named := annotations[v1alpha1.AnnotationHosts]
	if w.named = named; named {
		w.hosts = splitList(list)
	}
	if len(w.hosts) > maxItems {
		w.hosts = w.hosts[:maxItems]
		return w, &malformed{v1alpha1.AnnotationHosts, errTooMany}
	}
	ports, err := readPorts(annotations)
	if err != nil {
		return w, &malformed{v1alpha1.AnnotationPorts, err}
	}
	plainHTTP, err := readPlainHTTP(annotations, ports)
	if err != nil {
		return w, &malformed{v1alpha1.AnnotationPlainHTTP, err}
	}
	allowFrom, err := readAllowFrom(annotations)
	if err != nil {
		return w, &malformed{v1alpha1.AnnotationAllowFrom, err}
	}
	whole, err := readWildcard(annotations)
	if err != nil {
		return w, &malformed{v1alpha1.AnnotationWildcard, err}
	}
	below, err := readBool(annotations, v1alpha1.AnnotationShareBelow)
	if err != nil {
		return w, &malformed{v1alpha1.AnnotationShareBelow, err}
	}
	options, bad := readShare(annotations)
	if bad != nil {
		return w, bad
	}
	// A mistyped allow-from must not be read as consent to everyone.
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		if err := checkKnown(name); err != nil {
			return w, &malformed{name, err}
		}
	}
	options.PlainHTTP, options.AllowFrom, options.WholeWildcard, options.ShareBelow = plainHTTP, allowFrom, whole, below
	w.options = options.WithTLSPorts(ports)
	return w, nil
}

// Misspelled returns why an object that is not exposed may have been meant to be: it has
// an annotation that usher does not know, or a value of AnnotationExpose that is neither
// true nor false. It returns nil for any other object.
func Misspelled(kind string, object metav1.Object) *Refusal {
	annotations := object.GetAnnotations()
	if Exposed(annotations) || Solver(object) {
		return nil
	}
	refuse := func(name, format string, args ...any) *Refusal {
		return &Refusal{Reason: reason.AnnotationInvalid, Message: message.Format("%s %s/%s, %s: %s; the object is not published",
			kind, object.GetNamespace(), object.GetName(), annotationField(name), message.Format(format, args...))}
	}
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		if value := annotations[name]; name == v1alpha1.AnnotationExpose && value != "false" {
			return refuse(name, "%s is neither true nor false", message.Quote(value))
		}
		if err := checkKnown(name); err != nil {
			return refuse(name, "%v", err)
		}
	}
	return nil
}

// Unread returns the refusal of an object of a kind whose annotations usher does not read.
// It is nil if the object has no annotation of usher, or says that it is not published.
func Unread(kind, namespace, name string, annotations map[string]string, advice string) *Refusal {
	for _, annotation := range slices.Sorted(maps.Keys(annotations)) {
		if !strings.HasPrefix(annotation, prefix) || annotation == v1alpha1.AnnotationExpose && annotations[annotation] == "false" {
			continue
		}
		object := name
		if namespace != "" {
			object = namespace + "/" + name
		}
		return &Refusal{Reason: reason.KindNotRead, Message: message.Format("%s %s, %s: usher does not read this kind for annotations, so it has no effect; %s",
			kind, object, annotationField(annotation), advice)}
	}
	return nil
}

// checkKnown returns an error for an annotation of usher that does not exist.
func checkKnown(name string) error {
	if !strings.HasPrefix(name, prefix) || slices.Contains(known, name) {
		return nil
	}
	return fmt.Errorf("there is no such annotation; the annotations are %s", strings.Join(known, ", "))
}

// readPlainHTTP returns what port 80 does; empty if the annotation is missing and the
// object does not request the port https.
func readPlainHTTP(annotations map[string]string, ports []string) (v1alpha1.PlainHTTP, error) {
	https := slices.Contains(ports, v1alpha1.PortHTTPS)
	switch value, given := annotations[v1alpha1.AnnotationPlainHTTP]; {
	case !given && !https:
		return "", nil
	case !given, value == "redirect" && https:
		return v1alpha1.PlainHTTPRedirect, nil
	case value == "redirect":
		return "", fmt.Errorf("redirect leads to the port %s, which is not in the annotation %s: add it there, or write deny or forward", v1alpha1.PortHTTPS, v1alpha1.AnnotationPorts)
	case value == "forward":
		return v1alpha1.PlainHTTPForward, nil
	case value == "deny":
		return v1alpha1.PlainHTTPDeny, nil
	default:
		return "", fmt.Errorf("%s is none of redirect, forward, deny", message.Quote(value))
	}
}

// readPorts returns the names of the ports, sorted.
func readPorts(annotations map[string]string) ([]string, error) {
	value, given := annotations[v1alpha1.AnnotationPorts]
	if !given {
		return []string{v1alpha1.PortHTTPS}, nil
	}
	names := splitList(value)
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > v1alpha1.MaxPorts {
		return nil, fmt.Errorf("the list has more than %d names", v1alpha1.MaxPorts)
	}
	for _, name := range names {
		if len(validation.IsDNS1123Label(name)) > 0 {
			return nil, fmt.Errorf("%s is not the name of a port: write names of the edge's TLS ports, separated by commas, such as https, mqtts", message.Quote(name))
		}
	}
	return names, nil
}

func readWildcard(annotations map[string]string) (whole bool, err error) {
	switch value, given := annotations[v1alpha1.AnnotationWildcard]; {
	case !given:
		return false, nil
	case value == "all":
		return true, nil
	default:
		return false, fmt.Errorf("%s is not valid: the only value is all; remove the annotation to publish annotated names only", message.Quote(value))
	}
}

// readBool returns the value of an annotation that is true or false; false if it is missing.
func readBool(annotations map[string]string, name string) (is bool, err error) {
	switch value, given := annotations[name]; {
	case !given, value == "false":
		return false, nil
	case value == "true":
		return true, nil
	default:
		return false, fmt.Errorf("%s is neither true nor false", message.Quote(value))
	}
}

func readAllowFrom(annotations map[string]string) ([]string, error) {
	value, given := annotations[v1alpha1.AnnotationAllowFrom]
	if !given {
		return nil, nil
	}
	items := splitList(value)
	if len(items) > maxItems {
		return nil, errTooMany
	}
	var clients []string
	for _, item := range items {
		isName, err := allowfrom.CheckName(item)
		if err != nil {
			return nil, err
		}
		if !isName {
			prefix, err := parseCIDR(item)
			if err != nil {
				return nil, err
			}
			item = prefix.String()
		}
		clients = append(clients, item)
	}
	slices.Sort(clients)
	return slices.Compact(clients), nil
}

// parseCIDR parses a CIDR. It refuses one that it would have to widen or guess.
func parseCIDR(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, fmt.Errorf("%s is not a CIDR: write an address and a prefix length, such as 192.168.0.0/16, or @ and the name of a NetworkList", message.Quote(s))
	case p.Addr().Is4In6():
		return p, fmt.Errorf("%s is an IPv4 range in IPv6 form: write it as IPv4", message.Quote(s))
	case p != p.Masked():
		return p, fmt.Errorf("%s has bits beyond its prefix length: write %s for the network, or a longer prefix", message.Quote(s), p.Masked())
	}
	return p, nil
}

// splitList splits a comma-separated list. It keeps empty items, so that the caller
// reports them as mistakes.
func splitList(s string) []string {
	items := strings.Split(s, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

// maxItems is the maximum length of the lists; an ExposedHost has the same limit on CIDRs.
const maxItems = 256

var errTooMany = fmt.Errorf("the list has more than %d items", maxItems)

var errNoHost = errors.New("an item of the list is empty; write hosts, separated by commas")
