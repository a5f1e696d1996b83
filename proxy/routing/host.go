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

// lookupProfile is IDNA2008's Lookup profile (RFC 5891, section 5) as browsers
// apply it (UTS 46, non-transitional): underscores, and hyphens in a label's
// third and fourth place, are names that exist. ParseHost bounds the lengths
// and the ASCII characters itself.
var lookupProfile = idna.New(
	idna.MapForLookup(),
	idna.BidiRule(),
	idna.StrictDomainName(false),
	idna.CheckHyphens(false),
)

// ParseHost reads a host name that a person wrote and returns it in the
// canonical form that routes and lookups use: lower case A-labels (IDNA's
// Lookup profile) without a trailing dot, at most 253 bytes, 63 a label. A
// leading "*." stands for one label and needs at least two labels after it.
// IP addresses, ports and empty labels are errors; each error says what is
// wrong and quotes s.
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

// parseName reads a name without a wildcard.
func parseName(s string) (string, error) {
	if err := checkWritten(s); err != nil {
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

// checkWritten names the mistakes that people make, in their own spelling.
func checkWritten(s string) error {
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
	case len(s) > 4*maxHost: // no name is longer in any encoding: spare the mapping's work
		return fmt.Errorf("is longer than %d bytes", maxHost)
	}
	return nil
}

// checkName checks a mapped name's lengths and characters.
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
