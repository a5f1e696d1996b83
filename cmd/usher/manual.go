//go:build manual

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// init takes the place of main in a program that is built with the tag manual. It writes
// the manual pages, the completions and the reference of all commands into the folder that
// the first argument names. So the generator is not in usher itself:
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

// writeManual writes man/man1, completions and reference.md into a folder.
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
	return writeReference(root, filepath.Join(dir, "reference.md"))
}

// writeReference writes one page in Markdown about all commands.
func writeReference(root *cobra.Command, path string) error {
	var page bytes.Buffer
	page.WriteString("<!-- Written by `make generate` from cmd/usher. -->\n# Command line\n")
	anchor := func(file string) string {
		return "#" + strings.ReplaceAll(strings.TrimSuffix(file, ".md"), "_", "-")
	}
	var write func(cmd *cobra.Command) error
	write = func(cmd *cobra.Command) error {
		cmd.DisableAutoGenTag = true
		page.WriteString("\n")
		if err := doc.GenMarkdownCustom(cmd, &page, anchor); err != nil {
			return err
		}
		for _, child := range cmd.Commands() {
			if !child.IsAvailableCommand() {
				continue
			}
			if err := write(child); err != nil {
				return err
			}
		}
		return nil
	}
	if err := write(root); err != nil {
		return err
	}
	return os.WriteFile(path, page.Bytes(), 0o644)
}
