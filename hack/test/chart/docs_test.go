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

// installing matches a command in the docs that sets values, or a block, such as that of a file with values.
var installing = regexp.MustCompile("(?m)^ +(?:\\$ )?(helm (?:install|upgrade) usher charts/usher.*)$|^```yaml\n(?s:.*?)^```$")

// The chart accepts all values that the docs set. Each command is rendered, with the values.yaml that
// a reader has there. None reuses values: those that are new in the chart would be missing.
func TestChartAcceptsTheValuesOfTheDocs(t *testing.T) {
	files, err := filepath.Glob("../../../docs/*.md")
	testkit.Must(t, err)
	commands, values, written := 0, testkit.Values(""), filepath.Join(t.TempDir(), "values.yaml")
	for _, file := range append(files, "../../../charts/usher/README.md") {
		text, err := os.ReadFile(file)
		testkit.Must(t, err)
		for _, match := range installing.FindAllStringSubmatch(string(text), -1) {
			if match[1] == "" {
				values, _ = values.Read(match[0])
				continue
			}
			if strings.Contains(match[1], "mode=Split") { // the docs show its error
				continue
			}
			commands++
			words := shellWords(t, match[1])[4:]
			if slices.Contains(words, "--reuse-values") {
				t.Errorf("%s: %s: use --values values.yaml", file, match[1])
			}
			args := []string{"template", "usher", "../../../charts/usher", "--namespace", namespace}
			for i, word := range words {
				if strings.HasPrefix(word, "--set") {
					args = append(args, word, words[i+1])
				}
				if word == "--values" {
					testkit.Must(t, os.WriteFile(written, []byte(values), 0o600))
					args = append(args, word, written)
				}
			}
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
