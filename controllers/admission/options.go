package admission

import (
	"slices"
	"strings"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/allowfrom"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source"
)

// strictness orders the plain-HTTP modes from the most open to the strictest. A host
// has the strictest mode that one of its sources requests.
var strictness = []v1alpha1.PlainHTTP{v1alpha1.PlainHTTPForward, v1alpha1.PlainHTTPRedirect, v1alpha1.PlainHTTPDeny}

func stricter(a, b v1alpha1.PlainHTTP) v1alpha1.PlainHTTP {
	if slices.Index(strictness, a) >= slices.Index(strictness, b) {
		return a
	}
	return b
}

// combine returns the options of a host with several sources: the clients that
// all of them allow, the strictest plain-HTTP mode, and WholeWildcard, ShareBelow and Share
// only if all of them request it. The proxy does not see the path of a TLS request, so no source may
// allow what another source of the host denies. problem says why no client is left.
//
// The TLS ports are different: the host is served on each port that one of the sources
// requests. A source is on the entry points of Traefik that it names, and so says nothing
// about the other ports: an IngressRoute on 443 and an IngressRouteTCP on 8883 have no port
// in common, and neither is wrong. A port is no wider than its source: AllowFrom applies on
// each port, and no source is served on a port whose entry point it is not on.
func combine(claims []source.Claim) (options source.Options, problem string) {
	if len(claims) == 0 {
		return source.Options{}, ""
	}
	options = claims[0].Options
	var ports []string
	for _, claim := range claims {
		ports = append(ports, claim.Options.TLSPorts()...)
	}
	options = options.WithTLSPorts(ports)
	narrowest := claims[0].Source // the last that narrowed AllowFrom
	for _, claim := range claims[1:] {
		options.WholeWildcard = options.WholeWildcard && claim.Options.WholeWildcard
		options.ShareBelow = options.ShareBelow && claim.Options.ShareBelow
		options.Share = options.Share && claim.Options.Share
		options.PlainHTTP = stricter(options.PlainHTTP, claim.Options.PlainHTTP)
		if len(claim.Options.AllowFrom) == 0 {
			continue
		}
		both, representable := allowfrom.Intersect(options.AllowFrom, claim.Options.AllowFrom)
		switch {
		case !representable:
			return source.Options{}, message.Format("the clients that all its sources allow take more than %d entries of CIDRs and NetworkLists, or more than %d NetworkLists in one entry; use the same allow-from list in its sources",
				allowfrom.MaxEntries, allowfrom.MaxNames)
		case len(both) == 0:
			return source.Options{}, message.Format("no client may connect: %s allows %s, and %s allows %s; let their allow-from lists overlap",
				describe(narrowest), strings.Join(options.AllowFrom, ","), describe(claim.Source), strings.Join(claim.Options.AllowFrom, ","))
		}
		options.AllowFrom, narrowest = both, claim.Source
	}
	if options.PlainHTTP == "" && !slices.Contains(options.TLSPorts(), v1alpha1.PortHTTPS) { // there is nothing to redirect to
		options.PlainHTTP = v1alpha1.PlainHTTPDeny
	}
	return options, ""
}

// difference says what a source asks for, and what counts instead, since other
// sources of the host ask for less. spread is what spreadDifferently says.
func difference(claim source.Claim, counts source.Options, sources []source.Claim, spread string) Difference {
	if claim.Options.Equal(counts) {
		return Difference{Source: claim.Source, Message: message.Format("%s requests %s", describe(claim.Source), spread)}
	}
	var asked, given []string
	var narrower v1alpha1.SourceRef
	for _, other := range sources {
		if other.Options.PlainHTTP == counts.PlainHTTP && claim.Options.PlainHTTP != counts.PlainHTTP ||
			len(other.Options.AllowFrom) > 0 && !slices.Equal(other.Options.AllowFrom, claim.Options.AllowFrom) {
			narrower = other.Source
			break
		}
	}
	if claim.Options.PlainHTTP != counts.PlainHTTP {
		asked = append(asked, plainHTTP(claim.Options))
		given = append(given, plainHTTP(counts))
	}
	if !slices.Equal(claim.Options.AllowFrom, counts.AllowFrom) {
		asked = append(asked, allowFrom(claim.Options))
		given = append(given, allowFrom(counts))
	}
	said := message.Format("%s requests %s, but %s applies, because %s is stricter; a host allows what all its sources allow",
		describe(claim.Source), strings.Join(asked, " and "), strings.Join(given, " and "), describe(narrower))
	if spread != "" {
		said = message.Format("%s; and it requests %s", said, spread)
	}
	return Difference{Source: claim.Source, Message: said}
}

func plainHTTP(o source.Options) string {
	return "plain-http " + strings.ToLower(string(o.PlainHTTP))
}

func allowFrom(o source.Options) string {
	if len(o.AllowFrom) == 0 {
		return "allow-from everyone"
	}
	return "allow-from " + strings.Join(o.AllowFrom, ",")
}
