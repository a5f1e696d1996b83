package message

import "strings"

// DidYouMean returns the end of a message about a mistyped word: ` Did you mean "x"?`
// with the most similar of the known words, or "" if none is similar.
func DidYouMean(word string, known []string) string {
	nearest := Nearest(word, known)
	if nearest == "" {
		return ""
	}
	return " Did you mean " + Quote(nearest) + "?"
}

// minAffix is how long a word must be so that a longer one that begins or ends with it is
// similar, such as edge-context to context.
const minAffix = 3

// Nearest returns the first of the most similar known words, or "" if none is similar. Two
// words are similar if at most a third of their characters differ, or if one begins or ends
// with the other. Upper and lower case do not matter.
func Nearest(word string, known []string) string {
	folded := strings.ToLower(word)
	nearest, best := "", -1
	for _, candidate := range known {
		other := strings.ToLower(candidate)
		d, limit := distance(folded, other), (min(len(folded), len(other))+1)/3
		if d > limit && len(folded) >= minAffix && (strings.HasPrefix(other, folded) || strings.HasSuffix(other, folded)) {
			d, limit = minAffix, minAffix // after the words that differ less
		}
		if d <= limit && (best < 0 || d < best) {
			nearest, best = candidate, d
		}
	}
	return nearest
}

// distance returns how many bytes must be inserted, deleted, replaced, or exchanged with
// the next one, to make b of a.
func distance(a, b string) int {
	var before []int // the row before previous
	previous, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replaced := previous[j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			row[j] = min(replaced, previous[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, previous, row = previous, row, make([]int, len(b)+1)
	}
	return previous[len(b)]
}
