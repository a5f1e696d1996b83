package allowfrom

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/proxy/routing"
)

// Lists are the NetworkLists of the edge cluster: name → networks.
type Lists map[string]*routing.Networks

// Read returns the content of NetworkLists. One with an invalid network is left out, so
// that the hosts which name it are refused; the API server refuses it before.
func Read(lists []v1alpha1.NetworkList) (Lists, []error) {
	read := make(Lists, len(lists))
	var problems []error
	for i := range lists {
		networks, err := parseNetworks(lists[i].Spec.Networks)
		if err != nil {
			problems = append(problems, fmt.Errorf("NetworkList %s: %w", lists[i].Name, err))
			continue
		}
		read[lists[i].Name] = networks
	}
	return read, problems
}

func parseNetworks(cidrs []string) (*routing.Networks, error) {
	prefixes := make([]netip.Prefix, len(cidrs))
	for i, cidr := range cidrs {
		prefix, err := netip.ParsePrefix(cidr)
		if err != nil {
			return nil, fmt.Errorf("spec.networks[%d]: %w", i, err)
		}
		prefixes[i] = prefix.Masked()
	}
	return routing.NewNetworks(prefixes), nil
}

// An Invalid is an entry that cannot be resolved.
type Invalid struct {
	// Index is the index of the entry in its list, and Entry its text.
	Index int
	Entry string
	// Unknown is a name that no NetworkList has; empty if the entry is malformed.
	Unknown string
	// Problem is what is wrong with a malformed entry.
	Problem error
}

// Resolve returns the clients of a list: networks, and what is in several sets of
// networks at once. Both are empty only if the list is: then everyone may connect. If an
// entry cannot be resolved, it returns none, and no client may connect.
func Resolve(list []string, lists Lists) (networks []netip.Prefix, within []routing.Within, invalid *Invalid) {
	for i, text := range list {
		e, err := parse(text)
		if err != nil {
			return nil, nil, &Invalid{Index: i, Entry: text, Problem: err}
		}
		if len(e.names) == 0 {
			networks = append(networks, e.network)
			continue
		}
		clients := routing.Within{Network: e.network}
		for _, name := range e.names {
			set := lists[name]
			if set == nil {
				return nil, nil, &Invalid{Index: i, Entry: text, Unknown: name}
			}
			clients.All = append(clients.All, set)
		}
		within = append(within, clients)
	}
	return networks, within, nil
}

// Nobody reports whether a list that Resolve resolves contains no client at all, since
// the NetworkLists that it combines have no client in common.
func Nobody(list []string, lists Lists) bool {
	networks, within, invalid := Resolve(list, lists)
	return invalid == nil && len(list) > 0 && len(networks) == 0 && !slices.ContainsFunc(within, routing.Within.Some)
}

// Names returns the NetworkLists that a list names, sorted, each once.
func Names(list []string) []string {
	var names []string
	for _, text := range list {
		if !strings.HasPrefix(text, nameMark) {
			continue
		}
		if e, err := parse(text); err == nil {
			names = append(names, e.names...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Combines reports whether an entry of the list names several NetworkLists, or one and a
// network, so that a change of their content may leave no client.
func Combines(list []string) bool {
	return slices.ContainsFunc(list, func(text string) bool { return strings.Contains(text, joiner) })
}
