package apiserver

import (
	"fmt"
	"maps"
	"slices"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
)

// The versions that are served, besides those of custom resources.
var (
	coreVersion         = corev1.SchemeGroupVersion
	eventsVersion       = eventsv1.SchemeGroupVersion
	coordinationVersion = coordinationv1.SchemeGroupVersion
)

var (
	kinds  = newScheme()
	codecs = serializer.NewCodecFactory(kinds)
)

// newScheme returns the kinds that are served. The registry of k8s.io/apiserver converts
// each version to an internal one: here the internal types are those of v1. An Event has
// two versions, and is stored as the one of the core group.
func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	core := []runtime.Object{&corev1.Namespace{}, &corev1.NamespaceList{}, &corev1.Secret{}, &corev1.SecretList{}, &corev1.Event{}, &corev1.EventList{}}
	leases := []runtime.Object{&coordinationv1.Lease{}, &coordinationv1.LeaseList{}}
	for _, version := range []schema.GroupVersion{coreVersion, internal(coreVersion)} {
		s.AddKnownTypes(version, core...)
	}
	for _, version := range []schema.GroupVersion{coordinationVersion, internal(coordinationVersion)} {
		s.AddKnownTypes(version, leases...)
	}
	s.AddKnownTypes(eventsVersion, &eventsv1.Event{}, &eventsv1.EventList{})
	s.AddKnownTypes(internal(eventsVersion), &corev1.Event{}, &corev1.EventList{})
	for _, version := range []schema.GroupVersion{coreVersion, coordinationVersion, eventsVersion} {
		metav1.AddToGroupVersion(s, version)
		utilruntime.Must(s.SetVersionPriority(version))
	}
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	addEventConversions(s)
	addFieldLabels(s)
	return s
}

func internal(version schema.GroupVersion) schema.GroupVersion {
	return schema.GroupVersion{Group: version.Group, Version: runtime.APIVersionInternal}
}

// eventLabels are the fields by which Events may be selected.
var eventLabels = map[string]string{ // field → field of the core group
	"involvedObject.kind": "involvedObject.kind", "involvedObject.namespace": "involvedObject.namespace", "involvedObject.name": "involvedObject.name",
	"involvedObject.uid": "involvedObject.uid", "involvedObject.apiVersion": "involvedObject.apiVersion",
	"reason": "reason", "type": "type", "reportingComponent": "reportingComponent",
	"metadata.name": "metadata.name", "metadata.namespace": "metadata.namespace",
}

// regardingLabels are those fields that have another name in the group events.k8s.io.
var regardingLabels = map[string]string{
	"regarding.kind": "involvedObject.kind", "regarding.namespace": "involvedObject.namespace", "regarding.name": "involvedObject.name",
	"regarding.uid": "involvedObject.uid", "regarding.apiVersion": "involvedObject.apiVersion", "reportingController": "reportingComponent",
}

var secretLabels = map[string]string{"type": "type", "metadata.name": "metadata.name", "metadata.namespace": "metadata.namespace"}

func addFieldLabels(s *runtime.Scheme) {
	both := maps.Clone(eventLabels)
	maps.Copy(both, regardingLabels)
	for kind, labels := range map[schema.GroupVersionKind]map[string]string{
		coreVersion.WithKind("Event"):   eventLabels,
		eventsVersion.WithKind("Event"): both,
		coreVersion.WithKind("Secret"):  secretLabels,
	} {
		utilruntime.Must(s.AddFieldLabelConversionFunc(kind, func(label, value string) (string, string, error) {
			field, ok := labels[label]
			if !ok {
				return "", "", fmt.Errorf("field label not supported: %s; of: %v", label, slices.Sorted(maps.Keys(labels)))
			}
			return field, value, nil
		}))
	}
}

func addEventConversions(s *runtime.Scheme) {
	utilruntime.Must(s.AddConversionFunc((*eventsv1.Event)(nil), (*corev1.Event)(nil), func(a, b any, _ conversion.Scope) error {
		toCore(a.(*eventsv1.Event), b.(*corev1.Event))
		return nil
	}))
	utilruntime.Must(s.AddConversionFunc((*corev1.Event)(nil), (*eventsv1.Event)(nil), func(a, b any, _ conversion.Scope) error {
		fromCore(a.(*corev1.Event), b.(*eventsv1.Event))
		return nil
	}))
	utilruntime.Must(s.AddConversionFunc((*eventsv1.EventList)(nil), (*corev1.EventList)(nil), func(a, b any, _ conversion.Scope) error {
		in, out := a.(*eventsv1.EventList), b.(*corev1.EventList)
		out.ListMeta, out.Items = in.ListMeta, make([]corev1.Event, len(in.Items))
		for i := range in.Items {
			toCore(&in.Items[i], &out.Items[i])
		}
		return nil
	}))
	utilruntime.Must(s.AddConversionFunc((*corev1.EventList)(nil), (*eventsv1.EventList)(nil), func(a, b any, _ conversion.Scope) error {
		in, out := a.(*corev1.EventList), b.(*eventsv1.EventList)
		out.ListMeta, out.Items = in.ListMeta, make([]eventsv1.Event, len(in.Items))
		for i := range in.Items {
			fromCore(&in.Items[i], &out.Items[i])
		}
		return nil
	}))
}

func toCore(in *eventsv1.Event, out *corev1.Event) {
	*out = corev1.Event{
		ObjectMeta: in.ObjectMeta, InvolvedObject: in.Regarding, Related: in.Related, Reason: in.Reason, Message: in.Note, Type: in.Type,
		EventTime: in.EventTime, Action: in.Action, ReportingController: in.ReportingController, ReportingInstance: in.ReportingInstance,
		Source: in.DeprecatedSource, FirstTimestamp: in.DeprecatedFirstTimestamp, LastTimestamp: in.DeprecatedLastTimestamp, Count: in.DeprecatedCount,
	}
	if in.Series != nil {
		out.Series = &corev1.EventSeries{Count: in.Series.Count, LastObservedTime: in.Series.LastObservedTime}
	}
}

func fromCore(in *corev1.Event, out *eventsv1.Event) {
	*out = eventsv1.Event{
		ObjectMeta: in.ObjectMeta, Regarding: in.InvolvedObject, Related: in.Related, Reason: in.Reason, Note: in.Message, Type: in.Type,
		EventTime: in.EventTime, Action: in.Action, ReportingController: in.ReportingController, ReportingInstance: in.ReportingInstance,
		DeprecatedSource: in.Source, DeprecatedFirstTimestamp: in.FirstTimestamp, DeprecatedLastTimestamp: in.LastTimestamp, DeprecatedCount: in.Count,
	}
	if in.Series != nil {
		out.Series = &eventsv1.EventSeries{Count: in.Series.Count, LastObservedTime: in.Series.LastObservedTime}
	}
}
