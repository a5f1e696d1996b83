package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// choose returns a function that asks the person at the terminal to choose by number; nil
// if the input is not a terminal, so that no script waits for an answer.
func (o *clusterOptions) choose(cmd *cobra.Command, out io.Writer) func(question string, choices []string) int {
	if !onTerminal(cmd.InOrStdin()) {
		return nil
	}
	return func(question string, choices []string) int {
		return chooseFrom(o.answers(cmd), out, question, choices)
	}
}

// chooseFrom asks until the answer is the number of a choice, counted from 1. It returns
// the index of the choice; -1 if the answer is empty or the input has ended.
func chooseFrom(answers *bufio.Reader, out io.Writer, question string, choices []string) int {
	fmt.Fprintln(out, question)
	for i, choice := range choices {
		fmt.Fprintf(out, "  %d. %s\n", i+1, choice)
	}
	for {
		fmt.Fprintf(out, "Number [1-%d], or nothing to stop: ", len(choices))
		answer, err := answers.ReadString('\n')
		answer = strings.TrimSpace(answer)
		if n, wrong := strconv.Atoi(answer); wrong == nil && n >= 1 && n <= len(choices) {
			return n - 1
		}
		if answer == "" || err != nil {
			fmt.Fprintln(out)
			return -1
		}
	}
}

// answers returns the person's input. All questions share it, since it may have read ahead.
func (o *clusterOptions) answers(cmd *cobra.Command) *bufio.Reader {
	if o.input == nil {
		o.input = bufio.NewReader(cmd.InOrStdin())
	}
	return o.input
}

// onTerminal reports whether a person may answer a question.
func onTerminal(in io.Reader) bool {
	file, ok := in.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
