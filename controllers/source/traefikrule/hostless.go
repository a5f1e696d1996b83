package traefikrule

import (
	"fmt"
	"net"
	"strings"

	"github.com/jovalle/usher/controllers/message"
)

// hostless builds a matcher that does not depend on the host. It checks the values
// nevertheless, since Traefik does not load a rule with invalid ones.
func hostless(check func(r *reading, values []string) error) func(*reading, []string) (expr, error) {
	return func(r *reading, values []string) (expr, error) {
		return anyHost, check(r, values)
	}
}

func anyValues(*reading, []string) error { return nil }

func addresses(_ *reading, values []string) error {
	for _, value := range values {
		if net.ParseIP(value) != nil {
			continue
		}
		if _, _, err := net.ParseCIDR(value); err != nil {
			return err
		}
	}
	return nil
}

func absolutePaths(_ *reading, values []string) error {
	for _, value := range values {
		if !strings.HasPrefix(value, "/") {
			return fmt.Errorf("path %s does not start with a '/'", message.Quote(value))
		}
	}
	return nil
}

// protocols checks ALPN protocols. Traefik reserves that of ACME's TLS-ALPN-01 (RFC
// 8737) for itself.
func protocols(_ *reading, values []string) error {
	for _, value := range values {
		if value == "acme-tls/1" {
			return fmt.Errorf("invalid protocol value %s: it is not allowed", message.Quote(value))
		}
	}
	return nil
}

func pairs(_ *reading, values []string) error {
	if len(values)%2 != 0 {
		return fmt.Errorf("number of parameters must be a multiple of 2; got %d", len(values))
	}
	return nil
}

func pairedPatterns(r *reading, values []string) error {
	if err := pairs(r, values); err != nil {
		return err
	}
	for i := 1; i < len(values); i += 2 {
		if err := r.check(values[i]); err != nil {
			return err
		}
	}
	return nil
}

func firstIsPattern(r *reading, values []string) error {
	return r.check(values[0])
}

// secondIsPattern checks that the second value, if there is one, is a regular expression.
func secondIsPattern(r *reading, values []string) error {
	if len(values) < 2 {
		return nil
	}
	return firstIsPattern(r, values[1:])
}
