package chart

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// A permission is the smallest unit that the tests remove from a role. The read verbs are one
// permission, since an account that may list objects does not need get.
type permission struct {
	role            string // the role's name and kind, since a Role may be called as a ClusterRole
	group, resource string
	verbs           []string
}

func (p permission) String() string {
	return fmt.Sprintf("%s %s.%s in %s", strings.Join(p.verbs, " "), p.resource, p.group, p.role)
}

func nameOf(role rbacv1.ClusterRole) string { return role.Kind + " " + role.Name }

func isRead(verb string) bool { return slices.Contains([]string{"get", "list", "watch"}, verb) }

// permissions returns the permissions of a role.
func permissions(role rbacv1.ClusterRole) []permission {
	var all []permission
	for _, rule := range role.Rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				p := permission{role: nameOf(role), group: group, resource: resource}
				for _, verb := range rule.Verbs {
					if isRead(verb) {
						p.verbs = append(p.verbs, verb)
						continue
					}
					all = append(all, permission{p.role, group, resource, []string{verb}})
				}
				if len(p.verbs) > 0 {
					all = append(all, p)
				}
			}
		}
	}
	return all
}

// forAnnotationsAlone reports whether usher uses the permission only to find annotations on
// kinds that it does not read. It watches all others.
func (p permission) forAnnotationsAlone() bool {
	return p.role == "ClusterRole usher-member" && slices.Equal(p.verbs, []string{"list"})
}

// takenFrom returns a role's rules without the permission.
func (p permission) takenFrom(role rbacv1.ClusterRole) []rbacv1.PolicyRule {
	if p.role != nameOf(role) {
		return role.Rules
	}
	var left []rbacv1.PolicyRule
	for _, rule := range role.Rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				verbs := slices.Clone(rule.Verbs)
				if group == p.group && resource == p.resource {
					verbs = slices.DeleteFunc(verbs, func(verb string) bool { return slices.Contains(p.verbs, verb) })
				}
				if len(verbs) > 0 {
					left = append(left, rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: verbs})
				}
			}
		}
	}
	return left
}

// missedIn reports whether a log has an error about the missing permission.
func (p permission) missedIn(log string) bool {
	resource, _, _ := strings.Cut(p.resource, "/")
	for line := range strings.Lines(log) {
		for _, verb := range p.verbs {
			if strings.Contains(line, "cannot "+verb+" resource") && strings.Contains(line, resource) && strings.Contains(line, `API group \"`+p.group+`\"`) {
				return true
			}
		}
	}
	return false
}
