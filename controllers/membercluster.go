package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/admission"
	"github.com/jovalle/usher/controllers/member"
	"github.com/jovalle/usher/controllers/message"
)

// MemberClusterReconciler connects each MemberCluster according to its spec, and reports
// the connection in its status. It never waits for a member.
type MemberClusterReconciler struct {
	Client client.Client
	// Edge is the client configuration of the edge cluster. A member without a kubeconfig
	// is the edge cluster itself.
	Edge *rest.Config
	// Namespace of the Secrets with kubeconfigs.
	Namespace string
	Members   *member.Set
	// OwnAddress reports whether a connection to an address would reach a listener of
	// this process; nil if no address does.
	OwnAddress func(netip.AddrPort) bool
	Events     events.EventRecorder
	Health     Health // nil: no address is checked

	edge  *edgeNetworks
	names *pinnedNames

	audits *audits
}

// setupMemberClusters registers the reconciler of MemberClusters.
func (c *controlPlane) setupMemberClusters(mgr manager.Manager, members *member.Set, changed *trigger, namespace string) error {
	return builder.ControllerManagedBy(mgr).Named("membercluster").
		For(&v1alpha1.MemberCluster{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, o client.Object) []reconcile.Request {
			return clustersOfSecret(ctx, mgr.GetCache(), o.GetName())
		})).
		Watches(&v1alpha1.ExposedHost{}, recount()).
		Watches(&v1alpha1.MemberCluster{}, handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, _ client.Object) []reconcile.Request {
			return everyCluster(ctx, mgr.GetCache()) // two members must not have the same address
		}), builder.WithPredicates(predicate.Funcs{UpdateFunc: servesOtherwise})).
		WatchesRawSource(changed.source(func() map[string][]string { return nil })).
		WithOptions(options()).
		Complete(&MemberClusterReconciler{Client: mgr.GetClient(), Health: c.health, Edge: mgr.GetConfig(), Namespace: namespace, Members: members,
			OwnAddress: c.ownAddress, Events: recorder{mgr.GetEventRecorder(v1alpha1.FieldManager)}, edge: &edgeNetworks{reader: mgr.GetAPIReader()}, names: &c.names, audits: c.audits})
}

// recheckEvery is how often a member's addresses are checked again without a change of
// the member: the addresses of this machine or the networks of the edge cluster may have
// changed.
const recheckEvery = time.Minute

// +kubebuilder:rbac:groups=usher.techn.is,resources=memberclusters,verbs=get;list;watch
// +kubebuilder:rbac:groups=usher.techn.is,resources=memberclusters/status,verbs=patch
// +kubebuilder:rbac:groups="",namespace=usher-system,resources=secrets,verbs=get;list;watch

// Reconcile connects, reconnects or removes a member, and writes its status.
func (r *MemberClusterReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var mc v1alpha1.MemberCluster
	if err := r.Client.Get(ctx, req.NamespacedName, &mc); err != nil {
		if apierrors.IsNotFound(err) {
			r.Members.Remove(req.Name)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, err
	}
	config, secret, err := r.configOf(ctx, &mc)
	var problem *configError
	switch {
	case errors.As(err, &problem):
		// An existing connection stays open, unless its kubeconfig is no longer allowed: a
		// broken Secret must not withdraw any host.
		if problem.why == reason.KubeconfigInsecure {
			r.Members.EndInsecure(mc.Name)
		}
	case err != nil:
		return reconcile.Result{}, err
	default:
		r.Members.Ensure(config, member.RulesOf(&mc.Spec))
	}
	if wait := r.Members.Pending(mc.Name); wait > 0 && problem == nil && isReported(&mc) {
		return requeue(wait, nil) // what was found before the start stays until more is known
	}
	checker, err := r.checkerOf(ctx, &mc)
	if err != nil {
		return reconcile.Result{}, err
	}
	return requeue(recheckAfter(config.Expiry, time.Now()), r.report(ctx, &mc, checker, config, secret, problem))
}

// isReported reports whether the status has conditions for the current spec.
func isReported(mc *v1alpha1.MemberCluster) bool {
	ready := meta.FindStatusCondition(mc.Status.Conditions, v1alpha1.ConditionReady)
	return ready != nil && ready.Status != metav1.ConditionUnknown && ready.ObservedGeneration == mc.Generation
}

// configError says that a kubeconfig or spec.traefik, or its Secret, does not exist or
// cannot be used.
type configError struct {
	why     string // of package reason
	message string
}

func (e *configError) Error() string { return e.message }

// configOf returns how to connect to a member, and the version of the Secret that it was
// read from; nil without a Secret. The error is a *configError if a person must
// correct something.
func (r *MemberClusterReconciler) configOf(ctx context.Context, mc *v1alpha1.MemberCluster) (member.Config, *v1alpha1.ObservedKubeconfig, error) {
	config := member.Config{
		Name:            mc.Name,
		Service:         types.NamespacedName(mc.Spec.Ingress.Service),
		ServiceOptional: len(mc.Spec.Ingress.Addresses) > 0,
	}
	if mc.Spec.Traefik != nil {
		parsed, err := r.traefikConfig(ctx, mc)
		parsed.Name = mc.Name
		return parsed, nil, err
	}
	ref := mc.Spec.Kubeconfig
	if ref == nil {
		config.REST, config.Origin = r.Edge, member.OriginOf(r.Edge)
		return config, nil, nil
	}
	secret, err := r.secretOf(ctx, "spec.kubeconfig.secretName", ref.SecretName, "create it, or run usher cluster add "+mc.Name)
	switch {
	case err != nil:
		return config, nil, err
	case len(secret.Data[ref.Key]) == 0:
		return config, nil, &configError{reason.KubeconfigInvalid, message.Format("spec.kubeconfig.key: Secret %s has no key %s, or it is empty", ref.SecretName, message.Quote(ref.Key))}
	}
	parsed, err := member.ParseKubeconfig(secret.Data[ref.Key], ref.Context, ref.Insecure)
	if err != nil {
		why := reason.KubeconfigInvalid
		if errors.Is(err, member.ErrInsecure) {
			why = reason.KubeconfigInsecure
		}
		return config, nil, &configError{why, message.Format("Secret %s, key %s: %s", ref.SecretName, ref.Key, message.Of(err))}
	}
	parsed.Name, parsed.Service, parsed.ServiceOptional = config.Name, config.Service, config.ServiceOptional
	return parsed, &v1alpha1.ObservedKubeconfig{SecretUID: secret.UID, ResourceVersion: secret.ResourceVersion}, nil
}

// traefikConfig returns how to read the API of a Traefik.
func (r *MemberClusterReconciler) traefikConfig(ctx context.Context, mc *v1alpha1.MemberCluster) (member.Config, error) {
	var data map[string][]byte
	if name := mc.Spec.Traefik.SecretName; name != "" {
		secret, err := r.secretOf(ctx, "spec.traefik.secretName", name, "create it with the keys username and password, or token")
		if err != nil {
			return member.Config{}, err
		}
		data = secret.Data
	}
	config, err := member.ParseTraefik(mc.Spec.Traefik, mc.Spec.Isolation, data)
	if err != nil {
		return member.Config{}, &configError{reason.TraefikInvalid, message.Of(err)}
	}
	return config, nil
}

// secretOf returns a Secret of usher's namespace that a field names. The error is a
// *configError if there is none; cure says what to do then.
func (r *MemberClusterReconciler) secretOf(ctx context.Context, field, name, cure string) (*corev1.Secret, error) {
	var secret corev1.Secret
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: name}, &secret)
	switch {
	case apierrors.IsNotFound(err):
		return nil, &configError{reason.SecretNotFound, message.Format("%s: there is no Secret %s in namespace %s; %s", field, name, r.Namespace, cure)}
	case err != nil:
		return nil, fmt.Errorf("get Secret %s: %w", name, err)
	}
	return &secret, nil
}

// report writes the status if it differs. config and secret are the results of configOf.
func (r *MemberClusterReconciler) report(ctx context.Context, mc *v1alpha1.MemberCluster, checker addressChecker, config member.Config, secret *v1alpha1.ObservedKubeconfig, problem *configError) error {
	hosts, err := countHosts(ctx, r.Client, mc.Name)
	if err != nil {
		return err
	}
	state, _ := r.Members.State(mc.Name)
	after := mc.DeepCopy()
	after.Status.Hosts = hosts.total
	ingress := ingressOf(mc, state, checker)
	after.Status.Ingress = ingress.resolved
	after.Status.Gateways = gatewaysOf(mc, state, checker)
	after.Status.Refusals = state.Refusals
	if state.Version != "" {
		after.Status.KubernetesVersion = state.Version
	}
	if state.Origin != "" { // else it is unknown, and what was known stays
		after.Status.Traefik = observedTraefik(state)
	}
	if !state.SyncedAt.IsZero() {
		after.Status.LastSyncTime = &metav1.Time{Time: state.SyncedAt.Truncate(1e9)} // the API stores seconds
	}
	if mc.Spec.Kubeconfig == nil || secret != nil && state.Origin == config.Origin {
		after.Status.Kubeconfig = secret
	}
	if len(config.Weaknesses) > 0 && state.Connected.True {
		state.Connected.Message = message.Format("%s; its kubeconfig is insecure, as spec.kubeconfig.insecure allows: %s", state.Connected.Message, strings.Join(config.Weaknesses, ", "))
	}
	setConditions(&after.Status.Conditions, mc.Generation, memberConditions(after, state, ingress, problem)...)
	if mc.Spec.Isolation == nil {
		meta.RemoveStatusCondition(&after.Status.Conditions, v1alpha1.ConditionIsolated)
	} else if state.Synced.True {
		setConditions(&after.Status.Conditions, mc.Generation, isolated(state))
	}
	setDraining(after, hosts)
	setHealthy(after, r.Health, r.audits)
	setCredentials(after, config.Expiry, problem, time.Now())
	if equality.Semantic.DeepEqual(mc.Status, after.Status) {
		return nil
	}
	if err := writeStatus(ctx, r.Client, mc, after, func() { after.Status.Refusals = nil }); err != nil {
		return err
	}
	for _, condition := range []string{v1alpha1.ConditionIsolated, v1alpha1.ConditionCredentialsValid, v1alpha1.ConditionDraining} {
		r.warn(mc, after, condition)
	}
	return nil
}

// warn records an Event if a condition is False for another cause than before.
func (r *MemberClusterReconciler) warn(before, after *v1alpha1.MemberCluster, condition string) {
	was := meta.FindStatusCondition(before.Status.Conditions, condition)
	is := meta.FindStatusCondition(after.Status.Conditions, condition)
	if is != nil && is.Status == metav1.ConditionFalse && (was == nil || was.Message != is.Message) {
		r.Events.Eventf(after, nil, corev1.EventTypeWarning, is.Reason, "Check", "%s", is.Message)
	}
}

// isolated returns the Isolated condition of a cluster with spec.isolation.
func isolated(state member.State) metav1.Condition {
	if len(state.Unannotated) == 0 {
		return metav1.Condition{Type: v1alpha1.ConditionIsolated, Status: metav1.ConditionTrue, Reason: reason.Isolated, Message: "no object without the annotation uses the TLS options of published routes"}
	}
	return metav1.Condition{
		Type: v1alpha1.ConditionIsolated, Status: metav1.ConditionFalse, Reason: reason.UnannotatedRoutes,
		Message: message.Format("clients of published hosts reach these objects, which use the TLS options of published routes and are not annotated with %s: %s; annotate them, or remove the TLS options from them",
			v1alpha1.AnnotationExpose, admission.FirstFew(state.Unannotated)),
	}
}

// observedTraefik returns what is known of a member's Traefik; nil if nothing is.
func observedTraefik(state member.State) *v1alpha1.ObservedTraefik {
	var ports []v1alpha1.ObservedPort
	for _, port := range state.Ports {
		if len(port.EntryPoints) > 0 {
			ports = append(ports, v1alpha1.ObservedPort{Name: port.Name, EntryPoints: port.EntryPoints})
		}
	}
	if state.Traefik == (member.Traefik{}) && len(state.HTTPSEntryPoints)+len(state.HTTPEntryPoints)+len(ports) == 0 {
		return nil
	}
	return &v1alpha1.ObservedTraefik{
		Version: state.Traefik.Version, RuleSyntax: state.Traefik.RuleSyntax, DetectedBy: state.Traefik.DetectedBy,
		EntryPoints: state.HTTPSEntryPoints, HTTPEntryPoints: state.HTTPEntryPoints, Ports: ports,
	}
}

// memberConditions returns the conditions Connected, Synced and Ready.
func memberConditions(mc *v1alpha1.MemberCluster, state member.State, ingress memberIngress, problem *configError) []metav1.Condition {
	connected := condition(v1alpha1.ConditionConnected, state.Connected, "the cluster is being connected")
	synced := condition(v1alpha1.ConditionSynced, state.Synced, "the cluster's sources have not been read yet")
	if problem != nil {
		connected.Status, connected.Reason, connected.Message = metav1.ConditionFalse, problem.why, problem.message
	}
	ready := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: reason.Ready, Message: "the cluster's annotated sources are published"}
	switch {
	case connected.Status != metav1.ConditionTrue:
		ready.Status, ready.Reason, ready.Message = connected.Status, connected.Reason, connected.Message
	case synced.Status != metav1.ConditionTrue:
		ready.Status, ready.Reason, ready.Message = synced.Status, synced.Reason, synced.Message
	case ingress.resolved == nil && len(ingress.refused) > 0:
		ready.Status, ready.Reason, ready.Message = metav1.ConditionFalse, reason.AddressRefused, ingress.refusal(mc)
	case len(ingress.refused) > 0:
		ready.Message = message.Format("%s; %s", ready.Message, ingress.refusal(mc))
	case ingress.resolved == nil:
		ready.Status, ready.Reason = metav1.ConditionFalse, reason.NoIngressAddress
		ready.Message = message.Format("Service %s/%s has no load-balancer address; give it one, or set spec.ingress.addresses", mc.Spec.Ingress.Service.Namespace, mc.Spec.Ingress.Service.Name)
	}
	return []metav1.Condition{connected, synced, ready}
}

// condition returns a condition of a member for the API. Without a reason it is not known
// yet.
func condition(kind string, c member.Condition, unknown string) metav1.Condition {
	switch {
	case c.True:
		return metav1.Condition{Type: kind, Status: metav1.ConditionTrue, Reason: c.Reason, Message: c.Message}
	case c.Reason == "":
		return metav1.Condition{Type: kind, Status: metav1.ConditionUnknown, Reason: reason.Connecting, Message: unknown}
	}
	return metav1.Condition{Type: kind, Status: metav1.ConditionFalse, Reason: c.Reason, Message: c.Message}
}

// clustersOfSecret returns the MemberClusters whose credentials are in a Secret.
func clustersOfSecret(ctx context.Context, reader client.Reader, secret string) []reconcile.Request {
	clusters, err := listClusters(ctx, reader)
	if err != nil {
		logUnread(ctx, err)
		return nil
	}
	var requests []reconcile.Request
	for name, cluster := range clusters {
		spec := &cluster.Spec
		if spec.Kubeconfig != nil && spec.Kubeconfig.SecretName == secret || spec.Traefik != nil && spec.Traefik.SecretName == secret {
			requests = append(requests, requestFor(name))
		}
	}
	return requests
}
