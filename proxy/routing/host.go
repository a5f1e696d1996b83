package routing

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const (
	maxHost  = 253 // bytes of a name without its trailing dot: RFC 1035, section 2.3.4
	maxLabel = 63  // bytes of a label: RFC 1035, section 2.3.4
)

// lookupProfile is the Lookup profile of IDNA2008 (RFC 5891, section 5) as browsers
// apply it (UTS 46, non-transitional). It accepts underscores, and hyphens as third
// and fourth character of a label, because such names exist. ParseHost checks the
// lengths and the ASCII characters itself.
var lookupProfile = idna.New(
	idna.MapForLookup(),
	idna.BidiRule(),
	idna.StrictDomainName(false),
	idna.CheckHyphens(false),
)

// ParseHost parses a host name from configuration and returns it in the canonical form
// that routes and lookups use: lower case A-labels (Lookup profile of IDNA) without a
// trailing dot, at most 253 bytes, and 63 for each label. A leading "*." matches one
// label and must be followed by at least two labels. IP addresses, ports and empty
// labels are errors. Each error says what is wrong and quotes s.
func ParseHost(s string) (string, error) {
	host, err := parseHost(s)
	if err != nil {
		return "", fmt.Errorf("host %q: %w", s, err)
	}
	return host, nil
}

func parseHost(s string) (string, error) {
	if s == "" {
		return "", errors.New("is empty")
	}
	name, wildcard := strings.CutPrefix(s, "*.")
	name, err := parseName(name)
	if err != nil {
		return "", err
	}
	if !wildcard {
		return name, nil
	}
	if !strings.Contains(name, ".") {
		return "", errors.New("a wildcard needs at least two labels after it")
	}
	if len("*.")+len(name) > maxHost {
		return "", fmt.Errorf("is longer than %d bytes", maxHost)
	}
	return "*." + name, nil
}

// parseName parses a name without a wildcard.
func parseName(s string) (string, error) {
	if err := checkInput(s); err != nil {
		return "", err
	}
	name, err := lookupProfile.ToASCII(s)
	if err != nil {
		return "", fmt.Errorf("is not a host name: %w", err)
	}
	name = strings.TrimSuffix(name, ".") // after the mapping, which turns U+3002 into a dot
	if err := checkName(name); err != nil {
		return "", err
	}
	return name, nil
}

// checkInput detects common mistakes before the name is mapped, so that errors quote
// it as written.
func checkInput(s string) error {
	switch _, notIP := netip.ParseAddr(strings.Trim(s, "[]")); {
	case !utf8.ValidString(s):
		return errors.New("is not UTF-8")
	case notIP == nil:
		return errors.New("is an IP address, not a name")
	case strings.Contains(s, "*"):
		return errors.New("a wildcard must be the whole first label")
	case strings.Contains(s, "/"):
		return errors.New("has a slash: give the host only, not a URL")
	case strings.Contains(s, ":"):
		return errors.New("has a port: give the host only")
	case len(s) > 4*maxHost: // no name is longer in any encoding; this saves the mapping
		return fmt.Errorf("is longer than %d bytes", maxHost)
	}
	return nil
}

// checkName checks the lengths and characters of a mapped name.
func checkName(name string) error {
	if len(name) > maxHost {
		return fmt.Errorf("is longer than %d bytes", maxHost)
	}
	var last string
	for last = range strings.SplitSeq(name, ".") {
		if err := checkLabel(last); err != nil {
			return err
		}
	}
	if strings.Trim(last, "0123456789") == "" {
		// The WHATWG URL standard reads such a host as an IPv4 address.
		return fmt.Errorf("ends in the number %s, as an IP address does", last)
	}
	return nil
}

func checkLabel(label string) error {
	switch {
	case label == "":
		return errors.New("has an empty label")
	case len(label) > maxLabel:
		return fmt.Errorf("has a label longer than %d bytes", maxLabel)
	case label[0] == '-' || label[len(label)-1] == '-':
		return fmt.Errorf("label %q begins or ends with a hyphen", label)
	}
	for i := range len(label) {
		if !isNameByte(label[i]) {
			return fmt.Errorf("label %q holds the character %q", label, label[i])
		}
	}
	return nil
}

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// NameWithin returns a name that a host covers: the host, or of a wildcard one under it, to
// ask a server for. Host is in canonical form.
func NameWithin(host string) string {
	parent, wildcard := strings.CutPrefix(host, "*.")
	if !wildcard {
		return host
	}
	if name := "usher-check." + parent; len(name) <= maxHost {
		return name
	}
	return "x." + parent
}
