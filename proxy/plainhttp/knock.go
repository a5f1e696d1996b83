package plainhttp

// IsKnock reports whether a request was refused, by a reason of Handler.Refused, because of
// what it has asked for: not because a limit was reached or the route leads to usher.
func IsKnock(reason string) bool {
	for _, r := range [...]refusal{malformed, unknownHost, refusedHost, clientNotAllowed} {
		if reason == r.String() {
			return true
		}
	}
	return false
}
