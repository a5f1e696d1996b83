package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/yaml"
)

// Formats of output, and of the log.
const (
	formatJSON = "json"
	formatYAML = "yaml"
	formatName = "name" // a line for each object, as kubectl accepts it
	formatWide = "wide" // a table with all columns
	formatText = "text"

	formatJSONPath = "jsonpath="    // and a template
	formatTemplate = "go-template=" // and a template
)

var (
	// valueFormats are the formats of what is no object of Kubernetes.
	valueFormats = []string{formatJSON, formatYAML}
	// listFormats are the formats of a list of objects, as kubectl has them.
	listFormats = []string{formatJSON, formatYAML, formatName, formatWide, formatJSONPath, formatTemplate}
)

// outputFlag adds the flag -o. Standard says what is printed without it.
func outputFlag(cmd *cobra.Command, format *string, standard string, formats ...string) {
	cmd.Flags().StringVarP(format, "output", "o", "", fmt.Sprintf("`FORMAT` of the output: %s (default: %s)", strings.Join(formats, ", "), standard))
	_ = cmd.RegisterFlagCompletionFunc("output", oneOfThese(formats...)) // the flag exists
}

// printValue writes a value as JSON or YAML.
func printValue(out io.Writer, value any, format string) error {
	text, err := json.MarshalIndent(value, "", "    ")
	if err == nil && format == formatYAML {
		text, err = yaml.JSONToYAML(text)
	} else {
		text = append(text, '\n')
	}
	if err == nil {
		_, err = out.Write(text)
	}
	return err
}

// listFlags are the flags of a command that lists objects, as kubectl get has them.
type listFlags struct {
	format     string
	noHeaders  bool
	showLabels bool
}

func (f *listFlags) addTo(cmd *cobra.Command) {
	outputFlag(cmd, &f.format, "a table", listFormats...)
	cmd.Flags().BoolVar(&f.noHeaders, "no-headers", false, "print a table without the line of headers")
	cmd.Flags().BoolVar(&f.showLabels, "show-labels", false, "print the labels as the last column of a table")
}

// asTable reports whether a table is printed.
func (f *listFlags) asTable() bool { return f.format == "" || f.format == formatWide }

// printer returns the printer of the format: of a Table, or of a list of objects.
func (f *listFlags) printer() (printers.ResourcePrinter, error) {
	kind, template, _ := strings.Cut(f.format, "=")
	switch f.format {
	case "", formatWide:
		return printers.NewTablePrinter(printers.PrintOptions{Wide: f.format == formatWide, NoHeaders: f.noHeaders, ShowLabels: f.showLabels}), nil
	case formatJSON:
		return &printers.OmitManagedFieldsPrinter{Delegate: &printers.JSONPrinter{}}, nil
	case formatYAML:
		return &printers.OmitManagedFieldsPrinter{Delegate: &printers.YAMLPrinter{}}, nil
	case formatName:
		return &printers.NamePrinter{}, nil
	}
	var printer printers.ResourcePrinter
	var err error
	switch kind + "=" {
	case formatJSONPath:
		printer, err = printers.NewJSONPathPrinter(template)
	case formatTemplate:
		printer, err = printers.NewGoTemplatePrinter([]byte(template))
	default:
		return nil, oneOf("output", f.format, listFormats...)
	}
	if err == nil && template == "" {
		err = fmt.Errorf("%q has no template, such as jsonpath='{.items[*].metadata.name}'", f.format)
	}
	return printer, flagError("output", err)
}
