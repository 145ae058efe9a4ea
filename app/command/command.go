// Package command is what the command lines of hub and client have in common: their root, how they are misused,
// and what they exit with.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	Failed  = 1
	Misused = 2
)

// ErrSaid says that the command failed and has said why.
var ErrSaid = errors.New("said")

type misuse struct{ error }

// Misuse makes of an error one of whoever typed the command.
func Misuse(err error) error { return misuse{err} }

// Root is a program that does nothing but by its commands.
func Root(name, short string) *cobra.Command {
	root := &cobra.Command{
		Use:           name,
		Short:         short,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return Misuse(errors.New("which command?"))
			}
			return Misuse(fmt.Errorf("there is no command %q", args[0]))
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return Misuse(withoutParser(err)) })
	root.Flags().Bool("version", false, "say which version this is")
	root.SetVersionTemplate(name + " {{.Version}}\n")
	return root
}

// Run runs a command line and returns its exit code. What was asked for goes to out; what went wrong is said
// to diagnosis, in a line or two.
func Run(ctx context.Context, root *cobra.Command, args []string, out, diagnosis io.Writer) int {
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(diagnosis)
	command, err := root.ExecuteContextC(ctx)
	var m misuse
	switch {
	case err == nil:
		return 0
	case errors.As(err, &m):
		fmt.Fprintf(diagnosis, "%s: %v\nSee %s --help.\n", root.Name(), err, command.CommandPath())
		return Misused
	case !errors.Is(err, ErrSaid):
		fmt.Fprintf(diagnosis, "%s: %v\n", root.Name(), err)
	}
	return Failed
}

// withoutParser leaves out what a parser of numbers says of itself.
func withoutParser(err error) error {
	said, _, _ := strings.Cut(err.Error(), ": strconv.")
	return errors.New(strings.TrimSuffix(said, " flag"))
}

// version is what this was built from.
func version() string {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return "of an unknown version"
	}
	said := build.Main.Version
	for _, s := range build.Settings {
		if s.Key == "vcs.revision" && !strings.Contains(said, s.Value[:min(len(s.Value), 12)]) {
			said += " " + s.Value
		}
	}
	return said + ", " + build.GoVersion
}

// Arguments wants least to most of them, and else says what is wanted.
func Arguments(least, most int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return Misuse(errors.New(what))
		}
		return nil
	}
}

// NoArguments wants none.
var NoArguments = Arguments(0, 0, "this command takes options only")
