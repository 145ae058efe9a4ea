// Command tandem-hub is the aggregation server: devices join it with an invite, and reach the Internet
// through it over all their links at once.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"tandem/app/server"
)

// Exit codes.
const (
	failed  = 1
	misused = 2
)

func main() {
	// The first interrupt ends ctx, the second the process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:]))
}

// A misuse is an error of whoever typed the command.
type misuse struct{ error }

// errSaid says that the command failed and has said why.
var errSaid = errors.New("said")

func run(ctx context.Context, args []string) int {
	root := &cobra.Command{
		Use:           "tandem-hub",
		Short:         "The aggregation server of tandem",
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
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return misuse{err} })
	state := root.PersistentFlags().String("state", defaultState(), "`DIR` of keys and devices")
	root.AddCommand(runCommand(state), inviteCommand(state), devicesCommand(state), revokeCommand(state), checkCommand(state), convertCommand())
	root.SetArgs(args)
	command, err := root.ExecuteContextC(ctx)
	var m misuse
	switch {
	case err == nil:
		return 0
	case errors.As(err, &m):
		fmt.Fprintf(os.Stderr, "tandem-hub: %v\nsee %s --help\n", err, command.CommandPath())
		return misused
	case !errors.Is(err, errSaid):
		fmt.Fprintf(os.Stderr, "tandem-hub: %v\n", err)
	}
	return failed
}

// version is that of the module, or of what it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(unknown)"
	}
	return info.Main.Version
}

// arguments wants exactly n of them.
func arguments(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return misuse{fmt.Errorf("%s, not %d arguments", what, len(args))}
		}
		return nil
	}
}

var noArguments = arguments(0, "this command takes options only")

func defaultState() string {
	if os.Geteuid() == 0 {
		return "/var/lib/tandem-hub"
	}
	dir := os.Getenv("XDG_STATE_HOME")
	if home, err := os.UserHomeDir(); dir == "" && err == nil {
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "tandem-hub")
}

// options are the flags that say what a hub is.
func options(c *cobra.Command, cfg *server.Config) (parse func() error) {
	f := c.Flags()
	listen := f.String("listen", fmt.Sprintf(":%d", server.DefaultPort), "`ADDR:PORT` of devices' UDP; no address means all")
	f.StringArrayVar(&cfg.Endpoints, "endpoint", nil, "`HOST:PORT` where devices find this hub, best first; may be repeated (default: this machine's addresses)")
	f.BoolVar(&cfg.AllowLAN, "allow-lan", false, "let every device reach this machine's local network")
	f.BoolVar(&cfg.AllowSMTP, "allow-smtp", false, "let devices reach TCP port 25")
	f.StringVar(&cfg.Metrics, "metrics", "", "loopback `ADDR:PORT` at which Prometheus finds metrics")
	return func() error {
		parsed, err := parseListen(*listen)
		cfg.Listen = parsed
		return err
	}
}

// parseListen reads where to listen; no address means all.
func parseListen(text string) (netip.AddrPort, error) {
	at := text
	if strings.HasPrefix(at, ":") {
		at = "[::]" + at
	}
	parsed, err := netip.ParseAddrPort(at)
	if err != nil {
		return parsed, misuse{fmt.Errorf("--listen wants ADDR:PORT with an IP address, not %q", text)}
	}
	return parsed, nil
}

func runCommand(state *string) *cobra.Command {
	var cfg server.Config
	c := &cobra.Command{Use: "run", Short: "Run the hub, in the foreground", Args: noArguments}
	parse := options(c, &cfg)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := parse(); err != nil {
			return err
		}
		cfg.State = *state
		cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
		s, err := server.New(cfg)
		if err != nil {
			return err
		}
		return s.Run(c.Context())
	}
	return c
}
