package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/jovalle/usher/controllers/manifest"
)

func checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check DIR",
		Short: "Check a directory of manifests before usher run --manifests reads it",
		Long: `Check reads the files of DIR by the same rules as usher run --manifests, and prints
each problem as FILE:LINE: FIELD: MESSAGE. The exit code is 1 if there are problems.`,
		Args: oneDirectory,
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := manifest.Check(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			for _, problem := range report.Problems {
				problem.File = filepath.Join(args[0], problem.File)
				if _, err := fmt.Fprintln(cmd.OutOrStdout(), problem); err != nil {
					return err
				}
			}
			if n := len(report.Problems); n > 0 {
				return fmt.Errorf("%s in %d of %s of %s", counted(n, "problem"), report.Refused, counted(report.Files, "file"), args[0])
			}
			found := []string{counted(report.Clusters, "MemberCluster"), counted(report.Hosts, "ExposedHost"), counted(report.Routes, "host") + " served"}
			if report.Networks > 0 {
				found = slices.Insert(found, 1, counted(report.Networks, "NetworkList"))
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s good: %s\n", args[0], counted(report.Files, "file"), strings.Join(found, ", "))
			return err
		},
	}
}

// oneDirectory requires exactly one argument: the directory.
func oneDirectory(_ *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return &usageError{errors.New("DIR is missing: give the directory with the manifests")}
	case 1:
		return nil
	}
	return &usageError{fmt.Errorf("unexpected argument %q", args[1])}
}

// counted returns a number with its noun, such as "2 files".
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
