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

// UnknownError is a name that no NetworkList has.
type UnknownError struct {
	Index int // of the entry
	Entry string
	Name  string
}

// Error implements error.
func (e *UnknownError) Error() string { return "there is no NetworkList " + e.Name }

// InvalidError is an entry that cannot be parsed.
type InvalidError struct {
	Index int
	Entry string
	Err   error
}

// Error implements error.
func (e *InvalidError) Error() string { return e.Err.Error() }

// Unwrap returns the error of the parser.
func (e *InvalidError) Unwrap() error { return e.Err }

// Resolve returns the clients of a list: networks, and what must be in several sets of
// networks at once. Both are empty only if the list is: then everyone may connect. The
// error is an UnknownError or an InvalidError, and no client may connect.
func Resolve(list []string, lists Lists) (networks []netip.Prefix, within []routing.Within, err error) {
	for i, text := range list {
		e, err := parse(text)
		if err != nil {
			return nil, nil, &InvalidError{i, text, err}
		}
		if len(e.names) == 0 {
			networks = append(networks, e.network)
			continue
		}
		clients := routing.Within{Network: e.network}
		for _, name := range e.names {
			set := lists[name]
			if set == nil {
				return nil, nil, &UnknownError{i, text, name}
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
	networks, within, err := Resolve(list, lists)
	return err == nil && len(list) > 0 && len(networks) == 0 && !slices.ContainsFunc(within, routing.Within.Some)
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
