package allowfrom

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/jovalle/usher/controllers/message"
)

// An entry is one item of an allow-from list, as text: a CIDR, @ and the name of a
// NetworkList, or several of them that are joined by '&'. In this form an ExposedHost
// records what its sources have in common, while the content of the NetworkLists may
// change.
type entry struct {
	names   []string     // of NetworkLists, sorted, each once
	network netip.Prefix // masked; not valid: every address
}

// MaxNames is the maximum number of names in one entry, as in the schema of ExposedHost.
const MaxNames = 4

const (
	nameMark = "@"
	joiner   = "&"
)

// CheckName checks an item of an annotation that is not a CIDR. It returns false if the
// item does not begin as a name does.
func CheckName(item string) (isName bool, err error) {
	name, isName := strings.CutPrefix(item, nameMark)
	if isName && len(validation.IsDNS1123Label(name)) > 0 {
		return true, fmt.Errorf("%s is not the name of a NetworkList: write @ and up to 63 lower-case letters, digits and hyphens, such as @family", message.Quote(item))
	}
	return isName, nil
}

// parse parses an entry.
func parse(text string) (entry, error) {
	var e entry
	parts := strings.Split(text, joiner)
	for i, part := range parts {
		isName, err := CheckName(part)
		switch {
		case err != nil:
			return entry{}, err
		case isName:
			e.names = append(e.names, strings.TrimPrefix(part, nameMark))
			continue
		case i < len(parts)-1:
			return entry{}, errors.New("a CIDR must be the last part of an entry")
		}
		prefix, err := netip.ParsePrefix(part)
		if err != nil {
			return entry{}, err
		}
		e.network = prefix.Masked()
	}
	slices.Sort(e.names)
	e.names = slices.Compact(e.names)
	return e, nil
}

// String returns the text of the entry.
func (e entry) String() string {
	parts := make([]string, 0, len(e.names)+1)
	for _, name := range e.names {
		parts = append(parts, nameMark+name)
	}
	if e.network.IsValid() {
		parts = append(parts, e.network.String())
	}
	return strings.Join(parts, joiner)
}

// covers reports whether all clients of another entry are clients of this one, whatever
// the content of the NetworkLists is.
func (e entry) covers(other entry) bool {
	for _, name := range e.names {
		if !slices.Contains(other.names, name) {
			return false
		}
	}
	return !e.network.IsValid() ||
		other.network.IsValid() && e.network.Bits() <= other.network.Bits() && e.network.Overlaps(other.network)
}

// and returns the clients of both entries; false if there are none, whatever the content
// of the NetworkLists is.
func (e entry) and(other entry) (entry, bool) {
	both := entry{network: e.network}
	switch {
	case !e.network.IsValid():
		both.network = other.network
	case !other.network.IsValid():
	case !e.network.Overlaps(other.network):
		return entry{}, false
	case other.network.Bits() > e.network.Bits():
		both.network = other.network
	}
	both.names = slices.Concat(e.names, other.names)
	slices.Sort(both.names)
	both.names = slices.Compact(both.names)
	return both, true
}
