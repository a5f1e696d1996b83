package traefikrule

import (
	"math/bits"
	"regexp"
	"regexp/syntax"
	"slices"
)

// pattern is a regular expression over hosts.
type pattern struct {
	re   *regexp.Regexp
	prog *syntax.Prog // of re
}

func newPattern(expression string, parsed *syntax.Regexp) (*pattern, error) {
	re, err := regexp.Compile(expression)
	if err != nil {
		return nil, err
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	return &pattern{re: re, prog: prog}, nil
}

// anyOf matches the hosts that one of the regular expressions matches.
func anyOf(patterns ...*pattern) expr {
	return hostTest(func(a atom) verdict {
		if a.name == "" {
			return unknown
		}
		return verdictOf(slices.ContainsFunc(patterns, a.isMatchedBy))
	})
}

func (a atom) isMatchedBy(p *pattern) bool {
	if a.matches != nil {
		return a.matches[p]
	}
	return p.re.MatchString(a.name)
}

// threads are the instructions at which the threads of a program stand between two
// bytes of a host: a bit set. Only instruction 0 is in it once the program has
// matched, since what follows makes no difference then; no thread ever stands there.
type threads []uint64

func (t threads) add(pc int)      { t[pc/64] |= 1 << (pc % 64) }
func (t threads) has(pc int) bool { return t[pc/64]&(1<<(pc%64)) != 0 }

const matched = 0

func (p *pattern) newThreads() threads { return make(threads, len(p.prog.Inst)/64+1) }

// step moves the threads over the byte next, where prev is the byte before it; both are
// -1 at the ends of a host. As in MatchString, a match may begin anywhere. It returns
// how many instructions it took.
func (p *pattern) step(from threads, prev, next rune) (to threads, steps int) {
	to = p.newThreads()
	if from.has(matched) {
		to.add(matched)
		return to, len(to)
	}
	done := p.newThreads()
	todo := []int{p.prog.Start}
	for i, word := range from {
		for ; word != 0; word &= word - 1 {
			todo = append(todo, 64*i+bits.TrailingZeros64(word))
		}
	}
	for steps = 4 + 2*len(to); len(todo) > 0; steps++ {
		pc := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if done.has(pc) {
			continue
		}
		done.add(pc)
		switch inst := &p.prog.Inst[pc]; inst.Op {
		case syntax.InstMatch:
			clear(to)
			to.add(matched)
			return to, steps
		case syntax.InstAlt, syntax.InstAltMatch:
			todo = append(todo, int(inst.Out), int(inst.Arg))
		case syntax.InstCapture, syntax.InstNop:
			todo = append(todo, int(inst.Out))
		case syntax.InstEmptyWidth:
			if inst.MatchEmptyWidth(prev, next) {
				todo = append(todo, int(inst.Out))
			}
		default:
			if consumes(inst, next) {
				to.add(int(inst.Out))
			}
		}
	}
	return to, steps
}

// consumes reports whether an instruction matches a byte of a host name.
func consumes(inst *syntax.Inst, c rune) bool {
	switch inst.Op {
	case syntax.InstRune, syntax.InstRune1:
		return inst.MatchRune(c)
	case syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
		return true
	}
	return false
}
