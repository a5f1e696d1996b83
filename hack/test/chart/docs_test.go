package chart

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
	"github.com/jovalle/usher/hack/testbed/servers"
)

// installing matches a command in the docs that sets values.
var installing = regexp.MustCompile(`(?m)^ +(?:\$ )?(helm (?:install|upgrade) usher charts/usher.*)$`)

// The chart accepts all values that the docs set. Each command is rendered. A command that reuses
// values gets those of the commands before it in its file.
func TestChartAcceptsTheValuesOfTheDocs(t *testing.T) {
	files, err := filepath.Glob("../../../docs/*.md")
	testkit.Must(t, err)
	commands := 0
	for _, file := range append(files, "../../../charts/usher/README.md") {
		text, err := os.ReadFile(file)
		testkit.Must(t, err)
		var kept []string
		for _, match := range installing.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(match[1], "mode=Split") { // the docs show its error
				continue
			}
			commands++
			words := shellWords(t, match[1])[4:]
			if !slices.Contains(words, "--reuse-values") {
				kept = nil
			}
			for i, word := range words {
				if strings.HasPrefix(word, "--set") {
					kept = append(kept, word, words[i+1])
				}
			}
			args := append([]string{"template", "usher", "../../../charts/usher", "--namespace", namespace}, kept...)
			if _, err := output(t, servers.Helm, args...); err != nil {
				t.Errorf("%s: %s: %v", file, match[1], err)
			}
		}
	}
	if commands < 5 {
		t.Errorf("only %d commands are found", commands)
	}
}

// shellWords splits a command as a shell does.
func shellWords(t *testing.T, command string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", `printf '%s\n' `+command).Output()
	testkit.Must(t, err)
	return strings.Fields(string(out))
}
