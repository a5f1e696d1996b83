// Package walkthrough runs commands as a person would type them, prints them with their
// output, and checks the output. The demo and `make try` are walkthroughs.
package walkthrough

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const (
	stepTimeout = 20 * time.Second // until a step's output is as expected
	retryEvery  = 200 * time.Millisecond
)

// A Step is one command that a person would try.
type Step struct {
	Title   string   // printed above the command, if not empty
	Command string   // for bash
	Expect  []string // texts that its output must contain
	Refuse  string   // text that its output must not contain
	Fails   bool     // whether its exit code must not be 0
}

// A Variable is an environment variable that the commands use.
type Variable struct{ Name, Value string }

// Main is the main function of a walkthrough: it runs show until it returns or the
// process is told to end, and exits with 1 if show fails. With the flag --once, show ends
// after the last step.
func Main(name string, show func(ctx context.Context, once bool) error) {
	once := flag.Bool("once", false, "end after the last step")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := show(ctx, *once)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// Run runs the steps in order, and returns the error of the first that fails.
func Run(ctx context.Context, env []Variable, steps []Step) error {
	for _, step := range steps {
		if step.Title != "" {
			fmt.Printf("\n# %s\n", step.Title)
		}
		fmt.Printf("$ %s\n", step.Command)
		output, err := try(ctx, env, step)
		fmt.Print(output)
		if err != nil {
			return fmt.Errorf("step %q: %w", step.Command, err)
		}
	}
	return nil
}

// try repeats a step until its output is as expected, because usher follows its
// sources within milliseconds, but not at once.
func try(ctx context.Context, env []Variable, step Step) (output string, err error) {
	for deadline := time.Now().Add(stepTimeout); ; {
		output, err = shell(ctx, env, step.Command)
		if err = step.check(output, err); err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return output, err
		}
		time.Sleep(retryEvery)
	}
}

func shell(ctx context.Context, env []Variable, command string) (string, error) {
	shell := exec.CommandContext(ctx, "bash", "-c", command)
	shell.Env = os.Environ()
	for _, v := range env {
		shell.Env = append(shell.Env, v.Name+"="+v.Value)
	}
	output, err := shell.CombinedOutput()
	return string(output), err
}

// check returns an error where a step's output or exit code is not as expected.
func (s Step) check(output string, err error) error {
	switch {
	case err != nil && !s.Fails:
		return err
	case err == nil && s.Fails:
		return errors.New("it succeeded, and should have been refused")
	case s.Refuse != "" && strings.Contains(output, s.Refuse):
		return fmt.Errorf("its output has %q, and should not", s.Refuse)
	}
	for _, want := range s.Expect {
		if !strings.Contains(output, want) {
			return fmt.Errorf("its output lacks %q", want)
		}
	}
	return nil
}

// PrintNext prints what a person can try in another terminal while everything is up.
func PrintNext(env []Variable, commands ...string) {
	fmt.Println("\nIt stays up until you press Ctrl-C. In another terminal:")
	for _, v := range env {
		value := v.Value
		if v.Name == "PATH" {
			value, _, _ = strings.Cut(value, ":")
			value += ":$PATH"
		}
		fmt.Printf("  export %s=%s\n", v.Name, value)
	}
	for _, command := range commands {
		fmt.Println("  " + command)
	}
}
