package source

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source/traefik"
	"github.com/jovalle/usher/controllers/source/traefikrule"
)

// The bounds of IngressRoutes that have parents.
const (
	maxParentDepth = 8        // a parent's parent, and so on: a circle ends here
	maxParentRules = 100      // the routes of all parents, each within its own parents
	maxParentWork  = 32 << 20 // of an object's rules within those of its parents, in steps of traefikrule.Set's Work: a tenth of a second

	parentSteps = 1000 // of looking at a parent, or at a reference or a route of one
	byteSteps   = 20   // of reading a byte of a rule
)

var errParentWork = errors.New("the rules of the object and of its parents are too many or too large; name fewer hosts in them, or split the object")

// parentReader reads an IngressRoute's parents, and its rules within theirs.
type parentReader struct {
	in    Context
	steps int // that were spent
}

// spend returns an error once an object takes too much work, so that users of a
// member cluster cannot overload usher.
func (f *parentReader) spend(steps int) error {
	if f.steps += steps; f.steps > maxParentWork {
		return errParentWork
	}
	return nil
}

// rulesAbove returns the rules of an IngressRoute's parents; nil without parents. A
// request must match one of them before Traefik evaluates the object's own rules.
// As in Traefik, a parent that is not there disables the object.
func (f *parentReader) rulesAbove(route *traefik.IngressRoute, depth int) ([]*traefikrule.Set, error) {
	if depth == maxParentDepth {
		return nil, fmt.Errorf("the parents are nested more than %d levels deep, or refer to each other", maxParentDepth)
	}
	var above []*traefikrule.Set
	for _, ref := range route.Spec.ParentRefs {
		namespace := cmp.Or(ref.Namespace, route.Namespace)
		parent := f.in.ingressRoute(namespace, ref.Name)
		if parent == nil {
			return nil, fmt.Errorf("the parent IngressRoute %s does not exist; create it, or correct the reference", message.Quote(namespace+"/"+ref.Name))
		}
		rules, err := f.rulesOf(parent, depth)
		if err != nil {
			return nil, err
		}
		if above = append(above, rules...); len(above) > maxParentRules {
			return nil, fmt.Errorf("the parents have more than %d routes", maxParentRules)
		}
	}
	if len(above) == 0 && len(route.Spec.ParentRefs) > 0 {
		return nil, errors.New("no route of the parents has a readable rule; correct their rules")
	}
	return above, nil
}

// rulesOf returns the rules of a parent's routes, within its own parents. A route
// that cannot be read serves nothing, and so no child.
func (f *parentReader) rulesOf(parent *traefik.IngressRoute, depth int) ([]*traefikrule.Set, error) {
	if err := f.spend(parentSteps * (1 + len(parent.Spec.ParentRefs) + len(parent.Spec.Routes))); err != nil {
		return nil, err
	}
	above, err := f.rulesAbove(parent, depth+1)
	if err != nil {
		return nil, err
	}
	var rules []*traefikrule.Set
	for _, r := range parent.Spec.Routes {
		if len(rules) > maxParentRules {
			break // and so refused
		}
		if err := f.spend(byteSteps * len(r.Match)); err != nil {
			return nil, err
		}
		rule, err := httpRule(r, f.in)
		if err != nil {
			continue
		}
		joined, err := f.within(above, rule)
		if err != nil {
			return nil, err
		}
		rules = append(rules, joined...)
	}
	return rules, nil
}

// union is the hosts of any of its sets.
type union []*traefikrule.Set

// within returns what a rule has in common with each of the rules above it, if
// there are any.
func (f *parentReader) within(above []*traefikrule.Set, rule *traefikrule.Set) (union, error) {
	if len(above) == 0 {
		return union{rule}, nil
	}
	sets := make(union, len(above))
	for i, parent := range above {
		sets[i] = parent.Intersect(rule)
		if err := f.spend(sets[i].Work()); err != nil {
			return nil, err
		}
	}
	return sets, nil
}

// withoutWildcards returns what the sets hold in a Traefik before 3.7.
func (u union) withoutWildcards() union {
	literal := make(union, len(u))
	for i, set := range u {
		literal[i] = set.WithoutWildcards()
	}
	return literal
}

// List returns the hosts of all sets, sorted, or false where one has no list.
func (u union) List() ([]string, bool) {
	var hosts []string
	for _, set := range u {
		list, ok := set.List()
		if !ok {
			return nil, false
		}
		hosts = append(hosts, list...)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts), true
}

// Covers reports whether one of the sets covers the host.
func (u union) Covers(host string) bool {
	return slices.ContainsFunc(u, func(set *traefikrule.Set) bool { return set.Covers(host) })
}

func (u union) String() string {
	var all []string
	for _, set := range u {
		if s := set.String(); !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return strings.Join(all, "; ")
}
