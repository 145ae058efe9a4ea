// Command tandem uses all links of this device at once: it joins a hub, runs the daemon, and tells the
// daemon what to do.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"tandem/app/config"
	"tandem/app/control"
)

// Exit codes.
const (
	failed  = 1
	misused = 2
)

func main() {
	// The first interrupt ends ctx, the second the process. A terminal that closes interrupts too.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// A misuse is an error of whoever typed the command.
type misuse struct{ error }

// errSaid says that the command failed and has said why.
var errSaid = errors.New("said")

// options are those of every command.
type options struct {
	state  string // folder
	socket string // of the daemon; "": where one is found
}

func run(ctx context.Context, args []string, out, diagnosis io.Writer) int {
	var o options
	cobra.EnableCommandSorting = false // they stand in the order in which they are first needed
	root := &cobra.Command{
		Use:           "tandem",
		Short:         "All links of this device at once",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return misuse{errors.New("which command?")}
			}
			return misuse{fmt.Errorf("there is no command %q", args[0])}
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return misuse{short(err)} })
	root.Flags().Bool("version", false, "say which version this is")
	root.SetVersionTemplate("tandem {{.Version}}\n")
	root.SetOut(out)
	root.SetErr(diagnosis)
	f := root.PersistentFlags()
	f.StringVar(&o.state, "state", string(config.DefaultFolder()), "`DIR` of keys and settings")
	f.StringVar(&o.socket, "socket", "", "`PATH` of the daemon's socket")
	root.AddCommand(
		demoCommand(), checkCommand(&o), joinCommand(&o), runCommand(&o), statusCommand(&o), linksCommand(&o), linkCommand(&o), setCommand(&o),
		connectionsCommand(&o), flowsCommand(&o), downCommand(&o), upCommand(&o), leaveCommand(&o),
	)
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	var m misuse
	switch {
	case err == nil:
		return 0
	case errors.As(err, &m):
		fmt.Fprintf(diagnosis, "tandem: %v\nSee %s --help.\n", err, command.CommandPath())
		return misused
	case !errors.Is(err, errSaid):
		fmt.Fprintf(diagnosis, "tandem: %v\n", err)
	}
	return failed
}

// short leaves out what a parser of numbers says of itself.
func short(err error) error {
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

// arguments wants least to most of them.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return misuse{errors.New(what)}
		}
		return nil
	}
}

var noArguments = arguments(0, 0, "this command takes options only")

func (o *options) folder() config.Folder { return config.Folder(o.state) }

// listenAt is where the daemon of this state listens.
func (o *options) listenAt() string {
	if o.socket != "" {
		return o.socket
	}
	return control.Socket(o.folder())
}

// daemon returns a client of the daemon: the one of this state, else the system's.
func (o *options) daemon() *control.Client { return control.NewClient(o.listens()) }

// listens is where that daemon listens.
func (o *options) listens() string {
	at := o.listenAt()
	if o.socket == "" {
		if _, err := os.Stat(at); err != nil {
			if system := control.Socket("/var/lib/tandem"); exists(system) {
				at = system
			}
		}
	}
	return at
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
