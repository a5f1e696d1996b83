package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/jovalle/usher/controllers/message"
)

// usageError is an error in the command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usage(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// badFlag returns a usage error about a flag.
func badFlag(name, format string, args ...any) error {
	return usage("--%s: %w", name, fmt.Errorf(format, args...))
}

// flagError adds the name of the flag to an error; nil stays nil.
func flagError(name string, err error) error {
	if err == nil {
		return nil
	}
	return badFlag(name, "%w", err)
}

// severalHint says how several values are written, if a value looks like a list of another form.
func severalHint(values ...string) string {
	for _, value := range values {
		if strings.ContainsAny(value, " ;|") {
			return "; separate several values by commas, without spaces"
		}
	}
	return ""
}

// oneOf returns an error if the value is neither empty, which is the default, nor
// one of the known values.
func oneOf(flag, value string, known ...string) error {
	if value == "" || slices.Contains(known, value) {
		return nil
	}
	return badFlag(flag, "%q is none of %s.%s", value, strings.Join(known, ", "), message.DidYouMean(value, known))
}

// parseError explains an error of the parser of flags.
func parseError(cmd *cobra.Command, err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		return unknownFlag(cmd, unknown)
	}
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		what, _ := pflag.UnquoteUsage(missing.GetFlag())
		return badFlag(missing.GetFlag().Name, "the value is missing: write --%s %s", missing.GetFlag().Name, what)
	}
	if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return badFlag(invalid.GetFlag().Name, "%q is %s", invalid.GetValue(), notA(invalid))
	}
	return &usageError{err}
}

// notA says which kind of value a flag has, with an example.
func notA(invalid *pflag.InvalidValueError) string {
	switch kind := invalid.GetFlag().Value.Type(); {
	case errors.Is(invalid, strconv.ErrRange):
		return "too large"
	case kind == "int":
		return "not a whole number, such as 1000"
	case kind == "duration":
		return "not a duration: write a number and its unit, such as 30s, 5m or 1h30m"
	case kind == "bool":
		return "neither true nor false"
	}
	return "invalid: " + errors.Unwrap(invalid).Error()
}

// unknownFlag returns the error of a flag that the command does not have. A long flag with
// one hyphen is read as several flags of one letter each.
func unknownFlag(cmd *cobra.Command, unknown *pflag.NotExistError) error {
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			known = append(known, f.Name)
		}
	})
	written, name := "--"+unknown.GetSpecifiedName(), unknown.GetSpecifiedName()
	if short := unknown.GetSpecifiedShortnames(); short != "" {
		written, name = "-"+short, ""
		if len(short) > 1 {
			name, _, _ = strings.Cut(short, "=")
		}
	}
	if similar := message.Nearest(name, known); similar != "" {
		return usage("unknown flag %s of %s. Did you mean --%s?", written, cmd.CommandPath(), similar)
	}
	return usage("unknown flag %s of %s; %s --help lists its flags", written, cmd.CommandPath(), cmd.CommandPath())
}

// noArguments requires that there are no arguments.
func noArguments(cmd *cobra.Command, args []string) error { return atMost(cmd, args, 0) }

// oneArgument requires exactly one argument, such as NAME, of which meaning says what it is.
func oneArgument(name, meaning string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage("%s is missing: give %s, as in %s", name, meaning, cmd.UseLine())
		}
		return atMost(cmd, args, 1)
	}
}

func atMost(cmd *cobra.Command, args []string, most int) error {
	if len(args) <= most {
		return nil
	}
	unexpected := args[most]
	var optional string // a flag whose value may have been meant
	cmd.Flags().Visit(func(f *pflag.Flag) {
		_, notBool := strconv.ParseBool(unexpected)
		if f.NoOptDefVal != "" && f.Value.String() == f.NoOptDefVal && (f.Value.Type() != "bool" || notBool == nil) {
			optional = f.Name
		}
	})
	if optional != "" {
		return usage("unexpected argument %q of %s: a value of --%[3]s is written --%[3]s=%[1]s", unexpected, cmd.CommandPath(), optional)
	}
	return usage("unexpected argument %q of %s; %[2]s --help shows how it is used", unexpected, cmd.CommandPath())
}

// group makes a command the parent of others: alone it prints its help, and it refuses an
// argument that is no command.
func group(cmd *cobra.Command) {
	cmd.Args = knownCommand
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.DisableFlagsInUseLine = true
}

// knownCommand returns an error if there is an argument, since cobra takes an unknown
// command for one.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() {
			names = append(names, child.Name())
		}
	}
	if len(names) == 0 {
		return atMost(cmd, args, 0)
	}
	if similar := message.Nearest(args[0], names); similar != "" {
		return usage("unknown command %q of %s. Did you mean %[2]s %[3]s?", args[0], cmd.CommandPath(), similar)
	}
	if elsewhere := find(cmd.Root(), args[0]); elsewhere != nil {
		return usage("unknown command %q of %s. Did you mean %s?", args[0], cmd.CommandPath(), elsewhere.CommandPath())
	}
	return usage("unknown command %q of %s. It has: %s", args[0], cmd.CommandPath(), strings.Join(names, ", "))
}

// find returns the command of a name below another one, or nil.
func find(cmd *cobra.Command, name string) *cobra.Command {
	for _, child := range cmd.Commands() {
		if child.IsAvailableCommand() && child.Name() == name {
			return child
		}
		if found := find(child, name); found != nil {
			return found
		}
	}
	return nil
}

// checkAll makes the commands that cobra adds refuse what they do not know.
func checkAll(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Run, cmd.RunE = nil, help
		case "completion":
			group(cmd)
			for _, shell := range cmd.Commands() {
				shell.Args = noArguments
			}
		}
	}
}

// help prints the help of the command that the arguments name.
func help(cmd *cobra.Command, args []string) error {
	found, rest, err := cmd.Root().Find(args)
	if err != nil {
		return &usageError{err}
	}
	if err := knownCommand(found, rest); err != nil {
		return err
	}
	found.InitDefaultHelpFlag()
	return found.Help()
}
