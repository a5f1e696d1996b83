package message

import "regexp"

// changing are the parts of an error that differ at each attempt, and what stands
// for each.
var changing = []struct {
	part *regexp.Regexp
	by   string
}{
	// A connection's own end (net.OpError): its port is another each time.
	{regexp.MustCompile(`\b(dial|read|write) (tcp|udp)([46]?) (?:\S+)->(\S+): `), "$1 $2$3 $4: "},
	// A URL's query: the informer's timeouts are random, and its resource versions go on.
	{regexp.MustCompile(`\?[^\s"']*=[^\s"']*`), ""},
	// The clock (x509.CertificateInvalidError).
	{regexp.MustCompile(`current time \S+ is`), "now is"},
	// The numbers of HTTP/2 streams and of resource versions.
	{regexp.MustCompile(`(stream ID |LastStreamID=|resource ?[vV]ersion:? )\d+`), "$1…"},
	{regexp.MustCompile(`\b(request|audit|trace)([ -]?[iI][dD])?[ :=]+[0-9a-f]{8}-[0-9a-f-]{27}`), "$1 …"},
	// Addresses of memory.
	{regexp.MustCompile(`\b0x[0-9a-f]{6,16}\b`), "…"},
	// Durations of an attempt or of a backoff.
	{regexp.MustCompile(`\b\d+(\.\d+)?(µs|ms|ns)\b|\b\d+\.\d+s\b`), "…"},
}

// stable removes the parts of an error's text that differ at each attempt.
func stable(text string) string {
	text = head(text, min(len(text), most))
	for _, c := range changing {
		text = c.part.ReplaceAllString(text, c.by)
	}
	return text
}

// most of an error's bytes that are looked at: more than a message holds.
const most = 8 * Max
