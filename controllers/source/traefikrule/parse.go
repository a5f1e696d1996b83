package traefikrule

import (
	"fmt"
	"go/scanner"
	"go/token"
	"slices"
)

// ParseHTTP parses the rule of an HTTP router. The result is a set of values of the Host
// header. An error begins with its position, "line:column: ", if it has one.
func ParseHTTP(rule string, syntax Syntax) (*Set, error) {
	return parse(rule, syntax, httpV2, httpV3)
}

// ParseTCP parses the rule of a TCP router. The result is a set of server names of TLS
// connections (SNI, RFC 6066, section 3). Its errors are like those of ParseHTTP.
func ParseTCP(rule string, syntax Syntax) (*Set, error) {
	return parse(rule, syntax, tcpV2, tcpV3)
}

func parse(rule string, syntax Syntax, v2, v3 grammar) (*Set, error) {
	tokens, err := checkSize(rule)
	if err != nil {
		return nil, err
	}
	switch syntax {
	case V2:
		return v2.parse(rule, tokens)
	case V3:
		return v3.parse(rule, tokens)
	default:
		return parseEither(rule, tokens, v2, v3)
	}
}

// checkSize refuses a rule that would take too long to parse or is nested too deeply. It
// returns the number of tokens.
func checkSize(rule string) (tokens int, err error) {
	if len(rule) > maxRule {
		return 0, fmt.Errorf("the rule is longer than %d bytes", maxRule)
	}
	var s scanner.Scanner
	s.Init(token.NewFileSet().AddFile("", -1, len(rule)), []byte(rule), nil, 0)
	for n := 0; ; n++ {
		switch _, t, _ := s.Scan(); {
		case t == token.EOF:
			return n, nil
		case n == maxTokens:
			return 0, fmt.Errorf("the rule has more than %d names, operators and brackets", maxTokens)
		}
	}
}

// parseEither parses a rule whose grammar is not known. If both grammars accept it, they
// must agree.
func parseEither(rule string, tokens int, v2, v3 grammar) (*Set, error) {
	two, err2 := v2.parse(rule, tokens)
	three, err3 := v3.parse(rule, tokens)
	switch {
	case err2 != nil && err3 != nil:
		return nil, fmt.Errorf("as a rule of v3: %w; as one of v2: %w", err3, err2)
	case err2 != nil:
		return three, nil
	case err3 != nil:
		return two, nil
	}
	return agreement(two, three)
}

// agreement returns the hosts that a rule matches in both grammars. It returns an error
// if the grammars name different hosts.
func agreement(two, three *Set) (*Set, error) {
	hosts2, finite2 := two.List()
	hosts3, finite3 := three.List()
	switch {
	case finite2 != finite3 || !slices.Equal(hosts2, hosts3):
		return nil, fmt.Errorf("the rule is valid in the syntaxes v2 and v3, and matches different hosts: %s in v2, %s in v3; set the route's syntax, or the MemberCluster's spec.ingress.ruleSyntax", two, three)
	case finite3:
		return three, nil
	default:
		return three.Intersect(two), nil
	}
}
