// Package message formats the sentences of conditions, refusals and Events. They
// contain text from objects and API servers of the members, which may have any size
// and any characters, and may differ at each attempt. The package limits its size,
// makes it printable, and removes what differs.
//
// The package is pure and must not import anything of usher.
package message

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The bounds, in bytes. A condition holds 32,768 bytes, an Event's note 1,024.
const (
	// Max bounds a whole message.
	Max = 1024
	// MaxPart bounds each text within a message.
	MaxPart = 512
	// MaxQuoted bounds a quoted value, before it is escaped.
	MaxQuoted = 64
)

// Format is fmt.Sprintf for messages: valid UTF-8 in one line of printable
// characters, at most Max bytes long. Each text among args is cut to MaxPart bytes,
// so that a long one leaves room for what follows it.
func Format(format string, args ...any) string {
	bounded := make([]any, len(args))
	for i, arg := range args {
		bounded[i] = part(arg)
	}
	return Bound(fmt.Sprintf(format, bounded...))
}

// Bound makes a whole text a message: one line of printable characters, at most Max
// bytes long.
func Bound(text string) string { return cut(printable(text), Max) }

// Of returns the message of an error, without the parts that differ between
// attempts although the cause is the same.
func Of(err error) string { return Bound(stable(err.Error())) }

// Quote quotes a value of an object. A value longer than MaxQuoted bytes is cut, and its
// length is appended.
func Quote(value string) string {
	if len(value) <= MaxQuoted {
		return strconv.Quote(value)
	}
	return fmt.Sprintf("%s… (%d bytes)", strconv.Quote(head(value, MaxQuoted)), len(value))
}

// part limits an argument that is a text to MaxPart bytes.
func part(arg any) any {
	switch text := arg.(type) {
	case string:
		return cut(text, MaxPart)
	case error:
		return cut(text.Error(), MaxPart)
	case fmt.Stringer:
		return cut(text.String(), MaxPart)
	}
	return arg
}

// cut shortens a text to at most limit bytes, and appends the original length.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	note := fmt.Sprintf("… (%d bytes)", len(text))
	return head(text, limit-len(note)) + note
}

// head returns at most the first limit bytes of a text, without a partial character.
func head(text string, limit int) string {
	for limit < len(text) && limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}

// printable replaces control characters, which a terminal could interpret.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return unicode.ReplacementChar
	}, text)
}
