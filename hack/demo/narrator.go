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
	patience = 20 * time.Second // until a step's output is as expected
	again    = 200 * time.Millisecond
)

// variable is an environment variable that the commands use.
type variable struct{ name, value string }

// narrator runs the story's commands in a shell and shows them.
type narrator struct {
	env []variable
}

// tell runs all steps, and ends with the first that fails.
func (n *narrator) tell(ctx context.Context) error {
	for _, s := range story {
		if s.says != "" {
			fmt.Printf("\n# %s\n", s.says)
		}
		fmt.Printf("$ %s\n", s.command)
		output, err := n.try(ctx, s)
		fmt.Print(output)
		if err != nil {
			return fmt.Errorf("step %q: %w", s.command, err)
		}
	}
	return nil
}

// try repeats a step until it does what it should: usher follows the clusters
// within milliseconds, but not at once.
func (n *narrator) try(ctx context.Context, s step) (output string, err error) {
	for deadline := time.Now().Add(patience); ; {
		output, err = n.run(ctx, s.command)
		if err = s.judge(output, err); err == nil || ctx.Err() != nil || time.Now().After(deadline) {
			return output, err
		}
		time.Sleep(again)
	}
}

func (n *narrator) run(ctx context.Context, command string) (string, error) {
	shell := exec.CommandContext(ctx, "bash", "-c", command)
	shell.Env = os.Environ()
	for _, v := range n.env {
		shell.Env = append(shell.Env, v.name+"="+v.value)
	}
	output, err := shell.CombinedOutput()
	return string(output), err
}

// judge says how a step's output or end is not what it should be.
func (s step) judge(output string, err error) error {
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

// invite says how to go on by oneself.
func (n *narrator) invite() {
	fmt.Println("\nIt stays up until you press Ctrl-C. In another terminal:")
	for _, v := range n.env {
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
