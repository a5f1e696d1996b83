package admission

import (
	"slices"
	"strings"

	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/source"
)

// difference says what a source asks for, and what counts instead.
func difference(claim, counts source.Claim) Difference {
	var asked, given []string
	if claim.Options.PlainHTTP != counts.Options.PlainHTTP {
		asked = append(asked, plainHTTP(claim.Options))
		given = append(given, plainHTTP(counts.Options))
	}
	if !slices.Equal(claim.Options.AllowFrom, counts.Options.AllowFrom) {
		asked = append(asked, allowFrom(claim.Options))
		given = append(given, allowFrom(counts.Options))
	}
	return Difference{
		Source: claim.Source,
		Message: message.Format("%s asks for %s, but %s of the older %s counts; make them agree",
			describe(claim.Source), strings.Join(asked, " and "), strings.Join(given, " and "), describe(counts.Source)),
	}
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
