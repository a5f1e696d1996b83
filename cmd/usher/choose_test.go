package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/jovalle/usher/hack/test/testkit"
)

func TestChoiceByNumber(t *testing.T) {
	for answers, want := range map[string]int{
		"1\n": 0, "2": 1, "\n": -1, "": -1, "3\n2\n": 1, "0\n-1\none\n1\n": 0, "9\n": -1,
	} {
		var out bytes.Buffer
		if got := chooseFrom(bufio.NewReader(strings.NewReader(answers)), &out, "Which one?", []string{"a/traefik", "b/traefik"}); got != want {
			t.Errorf("%q chooses %d, want %d", answers, got, want)
		}
		for _, part := range []string{"Which one?\n", "  1. a/traefik\n", "  2. b/traefik\n", "[1-2]"} {
			if !strings.Contains(out.String(), part) {
				t.Errorf("%q is missing in %q", part, &out)
			}
		}
	}
}

func TestOnlyATerminalIsAsked(t *testing.T) {
	reader, writer, err := os.Pipe()
	testkit.Must(t, err)
	defer reader.Close()
	defer writer.Close()
	person, terminal := openTerminal(t)
	for name, in := range map[string]*os.File{"a pipe": reader, "a terminal": terminal} {
		o, cmd := clusterOptions{}, rootCommand()
		cmd.SetIn(in)
		var out bytes.Buffer
		choose := o.choose(cmd, &out)
		if in == reader {
			if choose != nil {
				t.Errorf("%s is asked", name)
			}
			continue
		}
		if choose == nil {
			t.Fatalf("%s is not asked", name)
		}
		_, err := person.WriteString("2\ny\n")
		testkit.Must(t, err)
		if got := choose("Which one?", []string{"a", "b"}); got != 1 {
			t.Errorf("chosen is %d", got)
		}
		if !o.ask(cmd)("Edit them?") { // the next answer is not lost
			t.Error("the second answer is not read")
		}
	}
}

// openTerminal returns both ends of a new pseudo terminal.
func openTerminal(t *testing.T) (person, terminal *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	testkit.Must(t, err)
	t.Cleanup(func() { person.Close() })
	testkit.Must(t, unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	testkit.Must(t, err)
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	testkit.Must(t, err)
	t.Cleanup(func() { terminal.Close() })
	return person, terminal
}
