package testkit

import "regexp"

// valuesBlock matches the values.yaml of a reader in the docs: a block that begins with its name.
var valuesBlock = regexp.MustCompile("(?ms)\\A```yaml\n# values\\.yaml(, besides what it has)?\n(.*)^```$")

// A Values is the text of the values.yaml that a reader of the docs has.
type Values string

// Read returns the file after a block of the docs, and whether the block is one of the file.
func (v Values) Read(block string) (Values, bool) {
	match := valuesBlock.FindStringSubmatch(block)
	switch {
	case match == nil:
		return v, false
	case match[1] == "":
		return Values(match[2]), true
	}
	return v + Values(match[2]), true
}
