package message

import "regexp"

// replacements replace the parts of an error that differ at each attempt.
var replacements = []struct {
	part        *regexp.Regexp
	replacement string
}{
	// The local address of a connection (net.OpError), whose port differs.
	{regexp.MustCompile(`\b(dial|read|write) (tcp|udp)([46]?) (?:\S+)->(\S+): `), "$1 $2$3 $4: "},
	// The query of a URL: an informer's timeouts are random, and its resource versions grow.
	{regexp.MustCompile(`\?[^\s"']*=[^\s"']*`), ""},
	// The current time (x509.CertificateInvalidError).
	{regexp.MustCompile(`current time \S+ is`), "now is"},
	// The numbers of HTTP/2 streams and of resource versions.
	{regexp.MustCompile(`(stream ID |LastStreamID=|resource ?[vV]ersion:? )\d+`), "$1…"},
	{regexp.MustCompile(`\b(request|audit|trace)([ -]?[iI][dD])?[ :=]+[0-9a-f]{8}-[0-9a-f-]{27}`), "$1 …"},
	// Memory addresses.
	{regexp.MustCompile(`\b0x[0-9a-f]{6,16}\b`), "…"},
	// Durations of an attempt or of a backoff.
	{regexp.MustCompile(`\b\d+(\.\d+)?(µs|ms|ns)\b|\b\d+\.\d+s\b`), "…"},
}

// stable removes the parts of an error's text that differ at each attempt.
func stable(text string) string {
	text = head(text, min(len(text), maxInput))
	for _, r := range replacements {
		text = r.part.ReplaceAllString(text, r.replacement)
	}
	return text
}

// maxInput is how many bytes of an error are processed: more than a message can have.
const maxInput = 8 * Max
