package controllers

import (
	"context"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/allowfrom"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source"
)

// indexNetworkList is the index of ExposedHosts by the NetworkLists in spec.allowFrom.
const indexNetworkList = "networkList"

// The keys of that index, besides the names of the lists. No list can have these names.
const (
	anyList        = "*" // names any list
	combinedPrefix = "&" // before the name of a list that an entry combines with others
)

// listsNamed returns the keys of an ExposedHost in the index.
func listsNamed(o client.Object) []string {
	allowFrom := o.(*v1alpha1.ExposedHost).Spec.AllowFrom
	keys := allowfrom.Names(allowFrom)
	if len(keys) == 0 {
		return nil
	}
	if allowfrom.Combines(allowFrom) {
		for _, name := range slices.Clone(keys) {
			keys = append(keys, combinedPrefix+name)
		}
	}
	return append(keys, anyList)
}

// hostsWithList returns the ExposedHosts whose status may depend on a change of a
// NetworkList. The networks of a list matter only where they are combined with others,
// since a list is never empty. The objects are shared with the cache and must not be
// changed.
func hostsWithList(ctx context.Context, reader client.Reader, name string, change listChange) []v1alpha1.ExposedHost {
	key := name
	switch {
	case name == "":
		key = anyList
	case change == listNetworks:
		key = combinedPrefix + name
	}
	var list v1alpha1.ExposedHostList
	if err := reader.List(ctx, &list, client.MatchingFields{indexNetworkList: key}, client.UnsafeDisableDeepCopy); err != nil {
		logUnread(ctx, err)
	}
	return list.Items
}

// clientsProblem returns why no client may connect to a host with this spec.allowFrom; nil
// if one may.
func (r *ExposedHostReconciler) clientsProblem(ctx context.Context, allowFrom []string) (*source.Refusal, error) {
	names := allowfrom.Names(allowFrom)
	if len(names) == 0 {
		return nil, nil
	}
	all, unreadable, err := r.lists.read(ctx)
	if err != nil {
		return nil, err
	}
	var named []v1alpha1.NetworkList
	for i := range all {
		if slices.Contains(names, all[i].Name) {
			named = append(named, all[i])
		}
	}
	lists, _ := allowfrom.Read(named)
	refuse := func(why, format string, args ...any) (*source.Refusal, error) {
		return &source.Refusal{Reason: why, Message: message.Format(format, args...)}, nil
	}
	_, _, invalid := allowfrom.Resolve(allowFrom, lists)
	switch {
	case invalid == nil && allowfrom.Nobody(allowFrom, lists):
		return refuse(reason.AllowFromDisjoint, "no client may connect: the NetworkLists and networks that spec.allowFrom joins by & have no client in common; let them overlap")
	case invalid == nil:
		return nil, nil
	case invalid.Unknown == "":
		return refuse(reason.SpecInvalid, "spec.allowFrom[%d]: %v", invalid.Index, invalid.Problem)
	case unreadable != "":
		return refuse(reason.UnknownNetworkList, "no client may connect: spec.allowFrom[%d] names NetworkList %s, and %s", invalid.Index, invalid.Unknown, unreadable)
	}
	return refuse(reason.UnknownNetworkList, "no client may connect: spec.allowFrom[%d] names NetworkList %s, which does not exist at the edge; create it, or correct the name", invalid.Index, invalid.Unknown)
}
