package source

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jovalle/usher/controllers/source/traefik"
	"github.com/jovalle/usher/controllers/source/traefikrule"
)

// The bounds of IngressRoutes that have parents.
const (
	maxParentDepth = 8   // a parent's parent, and so on: a circle ends here
	maxParentRules = 100 // the routes of all parents, each within its own parents
)

// rulesAbove returns the rules of an IngressRoute's parents, of which a request
// must match one before the object's own are asked; nil where it has no parents.
// As in Traefik, a parent that is not there disables the object.
func rulesAbove(route *traefik.IngressRoute, in Context, depth int) ([]*traefikrule.Set, error) {
	if depth == maxParentDepth {
		return nil, fmt.Errorf("the parents go more than %d deep, or in a circle", maxParentDepth)
	}
	var above []*traefikrule.Set
	for _, ref := range route.Spec.ParentRefs {
		namespace := cmp.Or(ref.Namespace, route.Namespace)
		parent := in.ingressRoute(namespace, ref.Name)
		if parent == nil {
			return nil, fmt.Errorf("the parent IngressRoute %s/%s is not there; create it, or correct the reference", namespace, ref.Name)
		}
		rules, err := rulesOf(parent, in, depth)
		if err != nil {
			return nil, err
		}
		above = append(above, rules...)
	}
	switch {
	case len(above) > maxParentRules:
		return nil, fmt.Errorf("the parents have more than %d routes", maxParentRules)
	case len(above) == 0 && len(route.Spec.ParentRefs) > 0:
		return nil, errors.New("no route of the parents has a rule that can be read; correct their rules")
	}
	return above, nil
}

// rulesOf returns the rules of a parent's routes, within its own parents. A route
// that cannot be read serves nothing, and so no child.
func rulesOf(parent *traefik.IngressRoute, in Context, depth int) ([]*traefikrule.Set, error) {
	above, err := rulesAbove(parent, in, depth+1)
	if err != nil {
		return nil, err
	}
	var rules []*traefikrule.Set
	for _, r := range parent.Spec.Routes {
		rule, err := httpRule(r, in)
		switch {
		case err != nil:
		case len(rules) > maxParentRules: // and so refused
		default:
			rules = append(rules, within(above, rule)...)
		}
	}
	return rules, nil
}

// union is the hosts of any of its sets.
type union []*traefikrule.Set

// within returns what a rule has in common with each of the rules above it, if
// there are any.
func within(above []*traefikrule.Set, rule *traefikrule.Set) union {
	if len(above) == 0 {
		return union{rule}
	}
	sets := make(union, len(above))
	for i, parent := range above {
		sets[i] = parent.Intersect(rule)
	}
	return sets
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

// Covers says whether one of the sets covers the host.
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
