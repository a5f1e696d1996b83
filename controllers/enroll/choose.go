package enroll

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/jovalle/usher/api/v1alpha1"
)

// findTraefiks finds the Traefik that the options name, or the Traefiks that a person may
// choose from.
func (e *enrolment) findTraefiks(ctx context.Context) (err error) {
	if e.Service.Name != "" {
		if e.traefik, err = e.member.traefikOf(ctx, e.Service); err != nil {
			return err
		}
	} else if !e.isNew {
		return nil // its ingress is kept, or only its addresses change
	}
	e.traefiks, err = e.member.traefiks(ctx)
	if apierrors.IsForbidden(err) && e.Service.Name+strings.Join(e.Addresses, "") != "" {
		return nil // the person has said where Traefik is
	}
	return err
}

// chooseTraefik chooses the Traefik that usher connects to, unless the options name it. It
// asks the person if there are several that the edge may reach.
func (e *enrolment) chooseTraefik() error {
	switch {
	case e.traefik != nil || !e.isNew:
		return nil
	case len(e.Addresses) > 0:
		e.chooseByAddress()
		return nil
	}
	reachable := slices.DeleteFunc(slices.Clone(e.traefiks), func(s *traefikService) bool { return len(s.addresses()) == 0 })
	switch len(reachable) {
	case 0:
		return e.member.failed("find Traefik", fmt.Errorf("no Service of Traefik has a load-balancer address: %w%s", ErrNoIngress, describeAll(e.traefiks)))
	case 1:
		e.traefik = reachable[0]
		if others := len(e.traefiks) - 1; others > 0 {
			e.report("of %d Services of Traefik, only %s has a load-balancer address, so usher connects to it; --service names another one:%s", others+1, e.traefik.key(), describeAll(e.traefiks))
		}
		return nil
	}
	return e.askForTraefik(reachable)
}

// askForTraefik asks the person to choose a Traefik.
func (e *enrolment) askForTraefik(reachable []*traefikService) error {
	if e.Choose != nil {
		choices := make([]string, len(reachable))
		for i, s := range reachable {
			choices[i] = s.String()
		}
		question := fmt.Sprintf("%d Services of Traefik in context %s have a load-balancer address. Which one does usher connect to?", len(reachable), e.member.context)
		if n := e.Choose(question, choices); n >= 0 && n < len(reachable) {
			e.traefik = reachable[n]
			return nil
		}
	}
	return e.member.failed("find Traefik", fmt.Errorf("%d Services of Traefik have a load-balancer address: %w%s", len(reachable), ErrSeveral, describeAll(reachable)))
}

// chooseByAddress chooses the Traefik whose load balancer has one of the given addresses.
func (e *enrolment) chooseByAddress() {
	var found []*traefikService
	for _, s := range e.traefiks {
		if slices.ContainsFunc(s.addresses(), func(address string) bool { return slices.Contains(e.Addresses, address) }) {
			found = append(found, s)
		}
	}
	switch {
	case len(found) == 1:
		e.traefik = found[0]
		e.report("the address is that of Service %s", e.traefik.key())
	case len(e.traefiks) > 1:
		e.report("warning: it is not known which of these Services of Traefik has the address, so usher publishes what each of them serves; name it with --service NAMESPACE/NAME:%s", describeAll(e.traefiks))
	}
}

// setTraefik has usher connect to the chosen Traefik, and publish only what it serves.
func (e *enrolment) setTraefik(ctx context.Context, ingress *v1alpha1.IngressEndpoint) error {
	found := e.traefik.endpoint()
	ingress.Service, ingress.HTTPSPort, ingress.HTTPPort = found.Service, found.HTTPSPort, found.HTTPPort
	if err := e.setAddresses(ctx, ingress); err != nil {
		return err
	}
	e.setServed(ingress)
	return nil
}

// setServed sets what the chosen Traefik serves, if other Traefiks of the cluster serve
// other objects, or if it serves one ingress class only. A Traefik alone serves all.
func (e *enrolment) setServed(ingress *v1alpha1.IngressEndpoint) {
	config := e.traefik.config
	several := slices.ContainsFunc(e.traefiks, func(s *traefikService) bool { return s.key() != e.traefik.key() })
	switch {
	case config == nil:
		if several || ingress.Providers != nil {
			e.report("warning: what the Traefik of Service %s serves is not known (%v): usher publishes any ingress class, unless spec.ingress.providers of the MemberCluster says what its providers serve", e.traefik.key(), e.traefik.problem)
		}
		return
	case !several && !config.hasClass() && ingress.Providers == nil:
		return
	}
	if config.providers != (v1alpha1.TraefikProviders{}) {
		ingress.Providers = &config.providers
	}
	if names := e.traefik.entryPoints(cmp.Or(ingress.HTTPSPort, defaultHTTPSPort)); len(names) > 0 {
		ingress.EntryPoints = names
	}
	e.report("usher publishes what this Traefik serves: %s; entry points %s", config.serves(), cmp.Or(strings.Join(ingress.EntryPoints, ", "), "unknown"))
	if len(config.limits) > 0 {
		e.report("warning: Traefik has %s, which usher does not check: annotate only objects that it serves", strings.Join(config.limits, " and "))
	}
}

// setAddresses sets the addresses of the ingress: those of the options; or the Service's,
// which usher follows if the person has named the Service, and which are pinned otherwise.
func (e *enrolment) setAddresses(ctx context.Context, ingress *v1alpha1.IngressEndpoint) error {
	if ingress.Addresses = e.Addresses; len(e.Addresses) > 0 {
		return nil
	}
	addresses, service := e.traefik.addresses(), e.traefik.key()
	if len(addresses) == 0 {
		return e.member.failed("find Traefik", fmt.Errorf("service %s has no load-balancer address: %w", service, ErrNoIngress))
	}
	e.report("Traefik's address is %s, from the load balancer of Service %s", strings.Join(addresses, ", "), service)
	if e.Service == (types.NamespacedName{}) {
		return e.pin(ctx, ingress, addresses)
	}
	e.report("usher follows that Service: anyone who may change it can direct usher to any address that is not refused; --address pins one")
	return nil
}
