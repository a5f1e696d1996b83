package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// version is set by the linker: make build passes the output of git describe.
var version = "devel"

// A versionInfo is the output of usher version.
type versionInfo struct {
	Version   string `json:"version"`
	GoVersion string `json:"goVersion"`
	Platform  string `json:"platform"`
}

func versionCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print usher's version",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("output", format, valueFormats...); err != nil {
				return err
			}
			v := versionInfo{version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			if format != "" {
				return printValue(cmd.OutOrStdout(), v, format)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "usher %s %s %s\n", v.Version, v.GoVersion, v.Platform)
			return err
		},
	}
	outputFlag(cmd, &format, "a line of text", valueFormats...)
	complete(cmd, nil)
	return cmd
}
