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

// The limits on IngressRoutes that have parents.
const (
	maxParentDepth = 8        // levels of parents; it also ends a cycle
	maxParentRules = 100      // routes of all parents, after they are intersected with those of their own parents
	maxParentWork  = 32 << 20 // steps of traefikrule.Set's Work for one object, about 0.1 s

	parentSteps = 1000 // steps of reading a parent, a reference to one, or a route of one
	byteSteps   = 20   // steps of parsing a byte of a rule
)

var errParentWork = errors.New("the rules of the object and of its parents are too many or too large; name fewer hosts in them, or split the object")

// parentReader reads an IngressRoute's parents, and intersects its rules with theirs.
type parentReader struct {
	in    Context
	steps int // steps that were used
}

// spend adds steps. It returns an error if the object needs too many, so that users of a
// member cluster cannot overload usher.
func (f *parentReader) spend(steps int) error {
	if f.steps += steps; f.steps > maxParentWork {
		return errParentWork
	}
	return nil
}

// rulesAbove returns the rules of an IngressRoute's parents; nil without parents. A
// request must match one of them before Traefik evaluates the object's own rules.
// As in Traefik, a missing parent disables the object.
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
		if why := f.in.unservedRoute(parent, parent.Spec.IngressClassName); why != "" {
			return nil, fmt.Errorf("of the parent IngressRoute %s, the ingress class: %s", message.Quote(namespace+"/"+ref.Name), why)
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

// rulesOf returns the rules of a parent's routes, intersected with those of its own
// parents. A route that cannot be read serves no host, and neither do its children.
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

// union is the union of sets of hosts.
type union []*traefikrule.Set

// within returns the intersections of a rule with each of the rules of its parents;
// without parents it returns the rule.
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

// withoutWildcards returns the hosts that the sets match in a Traefik before 3.7.
func (u union) withoutWildcards() union {
	literal := make(union, len(u))
	for i, set := range u {
		literal[i] = set.WithoutWildcards()
	}
	return literal
}

// List returns the hosts of all sets, sorted; false if those of one cannot be listed.
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
func (u union) Covers(host string, fuel *traefikrule.Fuel) bool {
	return slices.ContainsFunc(u, func(set *traefikrule.Set) bool { return set.Covers(host, fuel) })
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
