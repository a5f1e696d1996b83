package explain

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/message"
)

// advice returns what package reason advises about a reason, by the heading of its table;
// "" if it advises nothing.
func advice(heading, why string) string {
	for _, table := range reason.Tables() {
		if table.Heading != heading {
			continue
		}
		for _, r := range table.Reasons {
			if r.Name == why {
				return r.Advice
			}
		}
	}
	return ""
}

// plain matches the words that stand in a command as they are. A member's API server may
// send any name: what does not match is in no command, so that no shell reads it.
var plain = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/=@-]*$`)

// safe reports whether words can stand in a command.
func safe(words ...string) bool {
	return !slices.ContainsFunc(words, func(word string) bool { return len(word) > 512 || !plain.MatchString(word) })
}

// kubectl returns a command; "" if a word of it cannot stand in one.
func kubectl(words ...string) string {
	if !safe(words...) {
		return ""
	}
	return "kubectl " + strings.Join(words, " ")
}

// describe returns the command that shows an object of the edge cluster, or with an empty
// name all of a kind.
func describe(kind, name string) string {
	if name == "" {
		return kubectl("get", kind)
	}
	return kubectl("describe", kind, name)
}

// inMember returns a command for an object of a member; "" if its names cannot stand in one.
// The context of the member is taken to have its name.
func (e *explaining) inMember(ref v1alpha1.SourceRef, group, verb string, more ...string) string {
	if ref.IsRouter() {
		return "" // it is no object of Kubernetes
	}
	kind := strings.ToLower(ref.Kind)
	if strings.HasPrefix(group, "traefik.") {
		kind += "." + group
	}
	if !safe(ref.Cluster, kind, ref.Namespace, ref.Name) {
		return ""
	}
	words := []string{"kubectl", "--context", ref.Cluster, "-n", ref.Namespace, verb, kind, ref.Name}
	if m := e.member(ref.Cluster); m != nil && m.Edge {
		words = slices.Delete(words, 1, 3)
	}
	return strings.Join(append(words, more...), " ")
}

// annotate returns the command that makes an object publish what it names.
func (e *explaining) annotate(o *Object) string {
	annotations := []string{v1alpha1.AnnotationExpose + "=true"}
	switch {
	case o.Expose == "true":
		return e.edit(o.SourceRef, o.Group)
	case o.Expose != "":
		annotations = append(annotations, "--overwrite")
	}
	return e.inMember(o.SourceRef, o.Group, "annotate", annotations...)
}

func (e *explaining) edit(ref v1alpha1.SourceRef, group string) string {
	return e.inMember(ref, group, "edit")
}

// mendRefused returns the command that mends a refused host, or that shows more of it.
func (e *explaining) mendRefused(eh *v1alpha1.ExposedHost, why string) string {
	source, found := e.blamed(eh, why)
	command := ""
	switch why {
	case reason.AllowedDomains:
		command = patch("membercluster", source.Cluster, "json", []any{map[string]string{"op": "add", "path": "/spec/allowedDomains/-", "value": strings.TrimPrefix(eh.Spec.Host, "*.")}})
	case reason.IngressClass, reason.PortUnknown, reason.EntryPoint, reason.GatewayElsewhere:
		command = kubectl("edit", "membercluster", source.Cluster)
	case reason.ClusterNotReady:
		command = kubectl("describe", "membercluster", source.Cluster)
	case reason.HeldByAnother:
		command = kubectl("annotate", "exposedhost", eh.Name, v1alpha1.AnnotationMoveTo+"="+e.claimant(eh))
	case reason.NotAllAnnotated:
		command = e.annotateAll(source.Cluster)
	case reason.NotShared, reason.ShareDiffers:
		command = e.annotateWith(source, v1alpha1.AnnotationShare)
	case reason.UnderWildcard:
		command = e.shareBelow()
	case reason.SpecInvalid:
		command = "kubectl apply -f charts/usher/crds"
	case reason.HostInvalid:
		if eh.Labels[v1alpha1.LabelManaged] != "true" {
			command = kubectl("delete", "exposedhost", eh.Name)
		}
	}
	if command == "" && found {
		command = e.edit(source, e.groupOf(source))
	}
	if command == "" {
		command = describe("exposedhost", eh.Name)
	}
	return command
}

// blamed returns the object whose claim is refused with a reason, or else the first source
// of the ExposedHost.
func (e *explaining) blamed(eh *v1alpha1.ExposedHost, why string) (v1alpha1.SourceRef, bool) {
	for i := range e.control.Claims {
		c := &e.control.Claims[i]
		if c.Host == eh.Spec.Host && slices.ContainsFunc(c.Checks, func(check Check) bool { return check.Refusal != nil && check.Refusal.Reason == why }) {
			return c.SourceRef, true
		}
	}
	if len(eh.Status.Sources) > 0 {
		return eh.Status.Sources[0], true
	}
	return v1alpha1.SourceRef{Cluster: eh.Status.Summary.Cluster}, false
}

// claimant returns a cluster that claims the host and does not hold it.
func (e *explaining) claimant(eh *v1alpha1.ExposedHost) string {
	for _, r := range eh.Status.Rivals {
		if r.Cluster != eh.Spec.Holder {
			return r.Cluster
		}
	}
	return ""
}

// groupOf returns the API group of an object that names the host.
func (e *explaining) groupOf(ref v1alpha1.SourceRef) string {
	for i := range e.control.Objects {
		if e.control.Objects[i].SourceRef == ref {
			return e.control.Objects[i].Group
		}
	}
	return ""
}

// annotateAll returns the commands that annotate all objects of a cluster that name the
// host without the annotation, as far as they fit.
func (e *explaining) annotateAll(cluster string) string {
	all := ""
	for i := range e.control.Objects {
		o := &e.control.Objects[i]
		if o.Cluster != cluster || o.Publishes || o.Names == "" {
			continue
		}
		command := e.annotate(o)
		if command == "" || len(all)+len(command)+len(and) > message.Max {
			break
		}
		if all != "" {
			all += and
		}
		all += command
	}
	return all
}

// and joins two commands.
const and = " && "

// annotateWith returns the command that sets an annotation of an object to "true".
func (e *explaining) annotateWith(ref v1alpha1.SourceRef, annotation string) string {
	return e.inMember(ref, e.groupOf(ref), "annotate", annotation+"=true")
}

// shareBelow returns the command that shares the names under the wildcard over the host.
func (e *explaining) shareBelow() string {
	over := e.control.Over
	switch {
	case over == nil:
		return ""
	case over.Labels[v1alpha1.LabelManaged] != "true":
		return patch("exposedhost", over.Name, "merge", map[string]any{"spec": map[string]any{"shareBelow": true}})
	case len(over.Status.Sources) > 0:
		return e.annotateWith(over.Status.Sources[0], v1alpha1.AnnotationShareBelow)
	}
	return ""
}

// patch returns a command that patches an object of the edge cluster. The patch has no
// other values than names that are safe between single quotes.
func patch(kind, name, how string, value any) string {
	text, err := json.Marshal(value)
	command := kubectl("patch", kind, name)
	if err != nil || command == "" || strings.ContainsAny(string(text), `'\`) {
		return ""
	}
	return fmt.Sprintf("%s --type=%s -p '%s'", command, how, text)
}

// mendUnready returns the command that mends an accepted host that is not served.
func (e *explaining) mendUnready(eh *v1alpha1.ExposedHost, why string) string {
	if why == reason.UnknownNetworkList {
		return describe("networklists", "")
	}
	if eh.Labels[v1alpha1.LabelManaged] != "true" {
		return kubectl("edit", "exposedhost", eh.Name)
	}
	switch why {
	case reason.NoWeight, reason.AllowFromDisjoint:
		if len(eh.Status.Sources) > 0 {
			return e.edit(eh.Status.Sources[0], e.groupOf(eh.Status.Sources[0]))
		}
	case reason.AddressRefused, reason.NoIngressAddress, reason.PortUnknown:
		if len(eh.Spec.Backends) > 0 && eh.Spec.Backends[0].Cluster != "" {
			return kubectl("edit", "membercluster", eh.Spec.Backends[0].Cluster)
		}
	}
	return describe("exposedhost", eh.Name)
}

// mendBackend returns what to do about backends that accept no connection.
func (e *explaining) mendBackend() (cure, command string) {
	cluster := ""
	for _, p := range e.proxies {
		if len(p.Dials) > 0 {
			cluster = p.Dials[0].Cluster
			break
		}
	}
	if e.manifests() {
		return "Check that the backend runs and listens there, and that no firewall is between; or correct spec.backends of the ExposedHost in the file of --manifests.", checkCommand
	}
	cure = "Check that the backend runs and listens there, and that no firewall is between."
	m := e.member(cluster)
	if cluster == "" {
		if eh := e.decided(); eh != nil {
			return cure, kubectl("edit", "exposedhost", eh.Name)
		}
		return cure, describe("exposedhosts", "")
	}
	if m == nil || m.Service == "" {
		return cure + " Or correct spec.ingress of the MemberCluster.", kubectl("edit", "membercluster", cluster)
	}
	namespace, name, _ := strings.Cut(m.Service, "/")
	return cure, e.inMember(v1alpha1.SourceRef{Cluster: cluster, Kind: "Service", Namespace: namespace, Name: name}, "", "describe")
}
