package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	stepTimeout = 20 * time.Second // until a step's output is as expected
	retryEvery  = 200 * time.Millisecond
)

// variable is an environment variable that the commands use.
type variable struct{ name, value string }

// script runs the steps' commands in a shell and prints them with their output.
type script struct {
	env []variable
}

// run runs the steps in order, and returns the error of the first that fails.
func (s *script) run(ctx context.Context) error {
	for _, step := range steps {
		if step.title != "" {
			fmt.Printf("\n# %s\n", step.title)
		}
		fmt.Printf("$ %s\n", step.command)
		output, err := s.try(ctx, step)
		fmt.Print(output)
		if err != nil {
			return fmt.Errorf("step %q: %w", step.command, err)
		}
	}
	return nil
}

// try repeats a step until its output is as expected, because usher follows the
// clusters within milliseconds, but not at once.
func (s *script) try(ctx context.Context, step step) (output string, err error) {
	for deadline := time.Now().Add(stepTimeout); ; {
		output, err = s.shell(ctx, step.command)
		if err = step.check(output, err); err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return output, err
		}
		time.Sleep(retryEvery)
	}
}

func (s *script) shell(ctx context.Context, command string) (string, error) {
	shell := exec.CommandContext(ctx, "bash", "-c", command)
	shell.Env = os.Environ()
	for _, v := range s.env {
		shell.Env = append(shell.Env, v.name+"="+v.value)
	}
	output, err := shell.CombinedOutput()
	return string(output), err
}

// check returns an error where a step's output or exit code is not as expected.
func (s step) check(output string, err error) error {
	switch {
	case err != nil && !s.fails:
		return err
	case err == nil && s.fails:
		return fmt.Errorf("it succeeded, and should have been refused")
	case s.refuse != "" && strings.Contains(output, s.refuse):
		return fmt.Errorf("its output has %q, and should not", s.refuse)
	}
	for _, want := range s.expect {
		if !strings.Contains(output, want) {
			return fmt.Errorf("its output lacks %q", want)
		}
	}
	return nil
}

// printNext prints what a person can try next.
func (s *script) printNext() {
	fmt.Println("\nIt stays up until you press Ctrl-C. In another terminal:")
	for _, v := range s.env {
		value := v.value
		if v.name == "PATH" {
			value, _, _ = strings.Cut(value, ":")
			value += ":$PATH"
		}
		fmt.Printf("  export %s=%s\n", v.name, value)
	}
	fmt.Println("  kubectl --kubeconfig $ILLMATIC annotate ingressroute diary usher.techn.is/expose=true")
	fmt.Println("  kubectl get exposedhosts,memberclusters -o wide")
	fmt.Println("  " + curl("diary.techn.is"))
	fmt.Println("  curl http://$ADMIN/metrics")
}
