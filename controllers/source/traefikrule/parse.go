package traefikrule

import (
	"fmt"
	"go/scanner"
	"go/token"
	"slices"
)

// ParseHTTP reads the rule of an HTTP router, and answers for the Host that a
// request has. An error begins with the position, as "line:column: ", where
// there is one.
func ParseHTTP(rule string, syntax Syntax) (*Set, error) {
	return parse(rule, syntax, httpV2, httpV3)
}

// ParseTCP reads the rule of a TCP router, and answers for the server name of a
// TLS connection (SNI, RFC 6066, section 3). Its errors are as ParseHTTP's.
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

// checkSize bounds the work of reading a rule, and the depth of its nesting. It
// returns the number of its tokens.
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

// parseEither reads a rule that may be of either grammar. Where it is of both,
// they must agree.
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

// agreement is what two readings of one rule have in common, where they do not name
// different hosts.
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
