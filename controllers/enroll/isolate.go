package enroll

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/yaml"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/source"
)

// DefaultOptionsName is the name of the TLSOption of published routes, unless the
// MemberCluster or the person names another one.
const DefaultOptionsName = "exposed"

// ErrNotIsolated marks a member whose spec.isolation was not set, because usher would
// refuse hosts that are annotated now.
var ErrNotIsolated = errors.New("spec.isolation is not set")

// IsolateOptions say how a member is isolated.
type IsolateOptions struct {
	// TLSOptions is the TLSOption of published routes. Empty fields: what the
	// MemberCluster has, or else DefaultOptionsName in the namespace of Traefik's Service.
	TLSOptions v1alpha1.TLSOptionsRef
	// EntryPoints are entry points of Traefik whose static configuration sets
	// http.tls.options to TLSOptions. Nil: those that the MemberCluster has.
	EntryPoints []string
	// CrossNamespace says that Traefik has providers.kubernetesCRD.allowCrossNamespace:
	// routes of every namespace then refer to the TLSOption of TLSOptions. Without it,
	// each namespace has a TLSOption of its own.
	CrossNamespace bool
	// Patch edits the routes, after Confirm has agreed.
	Patch bool
	// Confirm asks the person a question that can be answered with yes or no; nil: no.
	Confirm func(question string) bool
}

func (o *IsolateOptions) validate() error {
	for _, option := range []struct{ flag, value string }{{"options-namespace", o.TLSOptions.Namespace}, {"options-name", o.TLSOptions.Name}} {
		if option.value == "" {
			continue
		}
		if err := CheckName(option.value); err != nil {
			return fmt.Errorf("--%s: %w", option.flag, err)
		}
		if strings.Contains(option.value, "--") {
			return fmt.Errorf("--%s: %q has two hyphens in a row, and Traefik cannot refer to such a name; choose another one", option.flag, option.value)
		}
	}
	if o.TLSOptions.Name == "default" {
		return errors.New("--options-name: \"default\" is what Traefik uses for every route without TLS options; choose another name, such as " + DefaultOptionsName)
	}
	if slices.Contains(o.EntryPoints, "") {
		return errors.New("--entry-point: a name is empty; give the names of Traefik's entry points, such as websecure")
	}
	return nil
}

// Isolate has a member serve its published routes with TLS options of their own, so that
// a client that connects with the name of a published host reaches no other host. It
// applies the TLSOptions and a catch-all route in the member, says how to edit each route
// that lacks the options, or edits them, and sets spec.isolation of the MemberCluster
// last. While routes lack the options it sets the field only if Confirm agrees, and
// returns an error that wraps ErrNotIsolated otherwise. A second call changes nothing.
func Isolate(ctx context.Context, edge, member *Cluster, o Options) error {
	var i *isolation
	err := o.bound(ctx, func(ctx context.Context) (err error) {
		if i, err = prepareIsolation(ctx, edge, member, o); err != nil {
			return err
		}
		return i.apply(ctx)
	})
	if err != nil {
		return err
	}
	return i.isolate(ctx)
}

// bound calls a step with Timeout. The time that a person takes to answer is not part of it.
func (o *Options) bound(ctx context.Context, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	return step(ctx)
}

// PlanIsolation returns what Isolate would write in each cluster, except for the routes
// that a person edits. It writes nothing, and says which routes these are.
func PlanIsolation(ctx context.Context, edge, member *Cluster, o Options) (inMember, atEdge []*unstructured.Unstructured, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	i, err := prepareIsolation(ctx, edge, member, o)
	if err != nil {
		return nil, nil, err
	}
	i.reportEdits()
	return i.manifests(), []*unstructured.Unstructured{i.isolatedCluster()}, nil
}

// An isolation is what is to be made of a member, after all has been looked at and before
// anything has been written.
type isolation struct {
	Options
	edge, member *Cluster
	id           identity
	cluster      *v1alpha1.MemberCluster // as it is
	want         *v1alpha1.Isolation
	entryPoints  []string      // of Traefik, that the edge connects to; empty if they are unknown
	ports        []source.Port // other than https
	hostGroups   []*hostGroup
}

// prepareIsolation reads the MemberCluster of a member, and all routes of the member.
func prepareIsolation(ctx context.Context, edge, member *Cluster, o Options) (*isolation, error) {
	id, err := identify(ctx, edge, o.Name)
	if err != nil {
		return nil, err
	}
	mc := &v1alpha1.MemberCluster{}
	err = edge.client.Get(ctx, client.ObjectKey{Name: o.Name}, mc)
	switch {
	case apierrors.IsNotFound(err) || meta.IsNoMatchError(err):
		return nil, edge.unknown(ctx, o.Name)
	case err != nil:
		return nil, edge.failed("read MemberCluster "+o.Name, err)
	}
	if err := checkHolds(ctx, member, id, mc); err != nil {
		return nil, err
	}
	return newIsolation(ctx, edge, member, o, id, mc)
}

// checkHolds returns an error if a cluster is not the one that was added as the member.
func checkHolds(ctx context.Context, member *Cluster, id identity, mc *v1alpha1.MemberCluster) error {
	if mc.Labels[labelManagedBy] != managedBy {
		return nil // a person has made the account: it has no label
	}
	owned, err := member.owned(ctx, id, &corev1.NamespaceList{})
	if err == nil && len(owned) == 0 {
		err = member.failed("isolate "+id.name, errors.New("this cluster holds nothing of the member; name the member's context with --context"))
	}
	return err
}

// newIsolation plans the isolation of a member whose MemberCluster may still have to be made.
func newIsolation(ctx context.Context, edge, member *Cluster, o Options, id identity, mc *v1alpha1.MemberCluster) (*isolation, error) {
	i := &isolation{Options: o, edge: edge, member: member, id: id, cluster: mc}
	if err := member.checkServesTLSOptions(); err != nil {
		return nil, err
	}
	if err := i.lookAtService(ctx); err != nil {
		return nil, err
	}
	i.want = i.wanted()
	if err := i.readRoutes(ctx); err != nil {
		return nil, err
	}
	return i, member.checkConflict(ctx, i.catchAll())
}

// checkServesTLSOptions returns an error if a cluster does not have Traefik's kind TLSOption.
func (c *Cluster) checkServesTLSOptions() error {
	kind := tlsOptionKind
	_, err := c.client.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		err = fmt.Errorf("it has no TLSOption of %s: install the CRDs of Traefik 2.10 or later, which is the first that can be isolated: %w", kind.GroupVersion(), err)
	}
	if err != nil {
		return c.failed("look for Traefik's kinds", err)
	}
	return nil
}

// lookAtService finds the entry points that the edge connects to.
func (i *isolation) lookAtService(ctx context.Context) error {
	ingress := i.cluster.Spec.Ingress
	i.entryPoints, i.ports = slices.Clone(ingress.EntryPoints), source.PortsOf(ingress.Ports, nil)
	unknown := func(p source.Port) bool { return len(p.EntryPoints) == 0 }
	if len(i.entryPoints) > 0 && !slices.ContainsFunc(i.ports, unknown) {
		return nil
	}
	var service corev1.Service
	err := i.member.client.Get(ctx, types.NamespacedName(ingress.Service), &service)
	if client.IgnoreNotFound(err) != nil {
		return i.member.failed("read Service "+types.NamespacedName(ingress.Service).String(), err)
	}
	named := source.EntryPointsOf(&service)
	if i.ports = source.PortsOf(ingress.Ports, named); len(i.entryPoints) == 0 {
		i.entryPoints = named[ingress.HTTPSPort]
	}
	return nil
}

// wanted is spec.isolation as it is to be.
func (i *isolation) wanted() *v1alpha1.Isolation {
	have := cmp.Or(i.cluster.Spec.Isolation, &v1alpha1.Isolation{})
	given := i.Isolation.TLSOptions
	want := &v1alpha1.Isolation{
		TLSOptions: v1alpha1.TLSOptionsRef{
			Namespace: cmp.Or(given.Namespace, have.TLSOptions.Namespace, i.cluster.Spec.Ingress.Service.Namespace),
			Name:      cmp.Or(given.Name, have.TLSOptions.Name, DefaultOptionsName),
		},
		EntryPoints: have.EntryPoints,
	}
	if i.Isolation.EntryPoints != nil {
		want.EntryPoints = i.Isolation.EntryPoints
	}
	return want
}

// readRoutes reads the routes of the member, and plans how they are to be edited.
func (i *isolation) readRoutes(ctx context.Context) error {
	routes, err := i.member.routes(ctx, source.Context{Cluster: i.Name, Isolation: i.want, HTTPSEntryPoints: i.entryPoints, Ports: i.ports})
	if err == nil {
		i.hostGroups = planHosts(routes, i.want.TLSOptions, i.Isolation.CrossNamespace)
	}
	return err
}

// isolate edits the routes, and sets spec.isolation.
func (i *isolation) isolate(ctx context.Context) error {
	if edits := i.reportEdits(); i.Isolation.Patch && len(edits) > 0 && i.asked("Edit these %d objects in context %s?", len(edits), i.member.context) {
		err := i.bound(ctx, func(ctx context.Context) error { return i.patch(ctx, edits) })
		if err != nil {
			return err
		}
	}
	if err := i.confirm(); err != nil {
		return err
	}
	if err := i.bound(ctx, i.setField); err != nil {
		return err
	}
	i.report("next: kubectl --context %[1]s annotate ingressroute NAME %[2]s=true, and then usher cluster isolate %[3]s --context %[1]s --patch, which gives it the TLS options", i.member.context, v1alpha1.AnnotationExpose, i.Name)
	return nil
}

// apply writes the TLSOptions and the catch-all route. Neither changes how Traefik serves
// a route that is there.
func (i *isolation) apply(ctx context.Context) error {
	for _, key := range i.tlsOptions() {
		if err := i.ensureOption(ctx, key); err != nil {
			return err
		}
	}
	want := i.catchAll()
	result, err := i.member.write(ctx, want)
	if err == nil {
		i.report("%s %s in context %s", describe(want), result, i.member.context)
	}
	return err
}

// ensureOption creates a TLSOption. One that is there stays as it is, also if somebody else
// has made it: only its name counts.
func (i *isolation) ensureOption(ctx context.Context, key types.NamespacedName) error {
	want := tlsOption(i.id, key)
	result := controllerutil.OperationResultCreated
	err := i.member.client.Create(ctx, want)
	if apierrors.IsAlreadyExists(err) {
		result, err = controllerutil.OperationResultNone, nil
	}
	if err != nil {
		return i.member.failed("write "+describe(want), err)
	}
	i.report("%s %s in context %s", describe(want), result, i.member.context)
	return nil
}

// reportEdits reports how each route must be edited, and returns the edits.
func (i *isolation) reportEdits() []*edit {
	var edits []*edit
	for _, g := range i.hostGroups {
		for _, e := range g.edits {
			edits = append(edits, e)
			i.report("%s needs TLSOption %s%s:\n  %s", e.route, g.want, e.note(), e.command(i.member.context))
		}
		if g.problem != "" {
			i.report("%s cannot be isolated: %s", strings.Join(g.hosts, ", "), g.problem)
		}
	}
	return edits
}

// patch edits routes, and plans again.
func (i *isolation) patch(ctx context.Context, edits []*edit) error {
	for _, e := range edits {
		if err := i.member.client.Patch(ctx, e.route.object, client.RawPatch(types.MergePatchType, e.patch)); err != nil {
			return i.member.failed("edit "+e.route.String(), err)
		}
		i.report("%s edited in context %s", e.route, i.member.context)
	}
	return i.readRoutes(ctx)
}

func (i *isolation) asked(format string, args ...any) bool {
	return i.Isolation.Confirm != nil && i.Isolation.Confirm(fmt.Sprintf(format, args...))
}

// confirm returns an error if spec.isolation would have usher refuse hosts that are
// annotated now, and the person does not agree.
func (i *isolation) confirm() error {
	var hosts []string
	for _, g := range i.hostGroups {
		if !g.isolated {
			hosts = append(hosts, g.hosts...)
		}
	}
	if len(hosts) == 0 || i.isSet() {
		return nil
	}
	slices.Sort(hosts)
	list := strings.Join(slices.Compact(hosts), ", ")
	if i.asked("Set spec.isolation now, so that usher publishes %s no longer until the routes are edited?", list) {
		return nil
	}
	return fmt.Errorf("%w: usher would publish %s no longer; edit the routes and run the same command again, add --patch to have them edited, or --yes to set the field now", ErrNotIsolated, list)
}

func (i *isolation) isSet() bool {
	have := i.cluster.Spec.Isolation
	return have != nil && have.TLSOptions == i.want.TLSOptions && slices.Equal(have.EntryPoints, i.want.EntryPoints)
}

// setField sets spec.isolation of the MemberCluster, or says where to set it if another
// tool keeps the object.
func (i *isolation) setField(ctx context.Context) error {
	name := "MemberCluster " + i.Name
	switch {
	case i.isSet():
		i.report("%s unchanged in context %s", name, i.edge.context)
		return nil
	case i.cluster.Labels[labelManagedBy] != managedBy:
		return i.reportField(name)
	}
	changed := i.cluster.DeepCopy()
	changed.Spec.Isolation = i.want
	if err := i.edge.client.Patch(ctx, changed, client.MergeFrom(i.cluster)); err != nil {
		return i.edge.failed("set spec.isolation of "+name, err)
	}
	i.report("%s updated in context %s: spec.isolation has TLSOption %s/%s", name, i.edge.context, i.want.TLSOptions.Namespace, i.want.TLSOptions.Name)
	return nil
}

func (i *isolation) reportField(name string) error {
	field, err := yaml.Marshal(map[string]any{"isolation": i.want})
	if err != nil {
		return fmt.Errorf("write spec.isolation: %w", err)
	}
	i.report("%s was not made by usher cluster add: add this to its spec where it is kept, in the chart's values say\n%s", name, strings.TrimSpace(string(field)))
	return nil
}

// isolatedCluster is the MemberCluster with spec.isolation, as a person would write it.
func (i *isolation) isolatedCluster() *unstructured.Unstructured {
	spec := i.cluster.Spec
	spec.Isolation = i.want
	return manifest(&v1alpha1.MemberCluster{
		ObjectMeta: metav1.ObjectMeta{Name: i.Name, Labels: i.cluster.Labels},
		Spec:       spec,
	})
}

// clusterOf is the MemberCluster that Add writes.
func clusterOf(o *unstructured.Unstructured) (*v1alpha1.MemberCluster, error) {
	mc := &v1alpha1.MemberCluster{}
	err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, mc)
	return mc, err
}
