// Command tandem-hub is the aggregation server: devices join it with an invite, and reach the Internet
// through it over all their links at once.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"tandem/app/command"
	"tandem/app/server"
)

func main() {
	// The first interrupt ends ctx, the second the process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(command.Run(ctx, commands(), os.Args[1:], os.Stdout, os.Stderr))
}

// commands are all that can be typed.
func commands() *cobra.Command {
	root := command.Root("tandem-hub", "The aggregation server of tandem")
	state := root.PersistentFlags().String("state", defaultState(), "`DIR` of keys and devices")
	root.AddCommand(runCommand(state), inviteCommand(state), devicesCommand(state), revokeCommand(state), checkCommand(state))
	return root
}

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
		at := *listen
		if strings.HasPrefix(at, ":") {
			at = "[::]" + at
		}
		parsed, err := netip.ParseAddrPort(at)
		if err != nil {
			return command.Misuse(fmt.Errorf("--listen wants ADDR:PORT with an IP address, not %q", *listen))
		}
		cfg.Listen = parsed
		return nil
	}
}

func runCommand(state *string) *cobra.Command {
	var cfg server.Config
	c := &cobra.Command{Use: "run", Short: "Run the hub, in the foreground", Args: command.NoArguments}
	parse := options(c, &cfg)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := parse(); err != nil {
			return err
		}
		cfg.State = *state
		cfg.Log = slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))
		s, err := server.New(cfg)
		if err != nil {
			return err
		}
		return s.Run(c.Context())
	}
	return c
}
