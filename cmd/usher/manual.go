//go:build manual

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// init takes the place of main in a program that is built with the tag manual. It writes
// the manual pages and the completions of all commands into the folder that the first
// argument names. So the generator is not in usher itself:
//
//	go run -tags=manual ./cmd/usher DIR
func init() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: go run -tags=manual ./cmd/usher DIR")
		os.Exit(exitUsage)
	}
	if err := writeManual(rootCommand(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "manual:", err)
		os.Exit(exitFailure)
	}
	os.Exit(0)
}

// writeManual writes man/man1 and completions into a folder.
func writeManual(root *cobra.Command, dir string) error {
	pages, completions := filepath.Join(dir, "man", "man1"), filepath.Join(dir, "completions")
	for _, folder := range []string{pages, completions} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	root.InitDefaultCompletionCmd()
	if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "usher", Manual: "usher"}, pages); err != nil {
		return err
	}
	for name, write := range map[string]func(path string) error{
		"usher.bash": func(path string) error { return root.GenBashCompletionFileV2(path, true) },
		"usher.fish": func(path string) error { return root.GenFishCompletionFile(path, true) },
		"usher.ps1":  root.GenPowerShellCompletionFileWithDesc,
		"_usher":     root.GenZshCompletionFile,
	} {
		if err := write(filepath.Join(completions, name)); err != nil {
			return err
		}
	}
	return nil
}
