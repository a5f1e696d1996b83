package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jovalle/usher/controllers/manifest"
)

func checkCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "check DIR",
		Short: "Check a directory of manifests before usher run --manifests reads it",
		Long: `Check reads the files of DIR by the same rules as usher run --manifests, and prints
each problem as FILE:LINE: FIELD: MESSAGE. The exit code is 1 if there are problems.`,
		Example: `  usher check /etc/usher/manifests
  usher check /etc/usher/manifests -o json`,
		Args:              oneArgument("DIR", "the directory with the manifests"),
		ValidArgsFunction: directories,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("output", format, valueFormats...); err != nil {
				return err
			}
			if err := checkDirectory(args[0]); err != nil {
				return err
			}
			quiet()
			return check(cmd, args[0], format)
		},
	}
	outputFlag(cmd, &format, "lines of text", valueFormats...)
	complete(cmd, nil)
	return cmd
}

// check prints the problems of a directory. It returns an error if there are any.
func check(cmd *cobra.Command, dir, format string) error {
	report, err := manifest.Check(cmd.Context(), dir)
	if err != nil {
		return err
	}
	for i := range report.Problems {
		report.Problems[i].File = filepath.Join(dir, report.Problems[i].File)
	}
	if format != "" {
		err = printValue(cmd.OutOrStdout(), report, format)
	} else {
		err = printReport(cmd.OutOrStdout(), report, dir)
	}
	if n := len(report.Problems); err == nil && n > 0 {
		return fmt.Errorf("%s in %d of %s of %s", counted(n, "problem"), report.Refused, counted(report.Files, "file"), dir)
	}
	return err
}

func printReport(out io.Writer, report manifest.Report, dir string) error {
	var text strings.Builder
	for _, problem := range report.Problems {
		fmt.Fprintln(&text, problem)
	}
	if len(report.Problems) == 0 {
		found := []string{counted(report.Clusters, "MemberCluster"), counted(report.Hosts, "ExposedHost"), counted(report.Routes, "host") + " served"}
		if report.Networks > 0 {
			found = slices.Insert(found, 1, counted(report.Networks, "NetworkList"))
		}
		fmt.Fprintf(&text, "%s: %s good: %s\n", dir, counted(report.Files, "file"), strings.Join(found, ", "))
	}
	_, err := io.WriteString(out, text.String())
	return err
}

// checkDirectory returns an error if a path is no directory that can be read.
func checkDirectory(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no directory %s", path)
	case err == nil && !info.IsDir():
		return fmt.Errorf("%s is a file: give the directory that it is in, such as %s", path, filepath.Dir(path))
	}
	_, err = os.ReadDir(path)
	return err
}

// counted returns a number with its noun, such as "2 files".
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
