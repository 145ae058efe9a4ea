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
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"tandem/app/command"
	"tandem/app/config"
	"tandem/app/server"
	"tandem/engine"
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
	root.AddCommand(runCommand(state), inviteCommand(state), devicesCommand(state), revokeCommand(state), checkCommand(state), convertCommand(), implicitCommand())
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
		parsed, err := parseListen(*listen)
		cfg.Listen = parsed
		return err
	}
}

// conduct are the flags that say what chooses links for what devices download.
func conduct(c *cobra.Command, cfg *server.Config) (parse func() error) {
	f := c.Flags()
	scheduler := f.String("scheduler", server.DefaultScheduler, "choose links for what devices download by this `NAME`: "+config.Schedulers)
	v := f.Int("cost-v", int(config.CostVDefault), "with the scheduler cost, let so many `OCTETS` wait rather than pay a thousandth more for a gigabyte")
	rate := f.String("cost-rate", "none", "with the scheduler cost, use dear links while the cheap ones bring less than this `RATE`, such as 1M")
	return func() error {
		name, costV := config.Scheduler(*scheduler), config.CostV(*v)
		r, err := config.ParseRate(*rate)
		for _, wrong := range []struct {
			flag string
			err  error
		}{{"scheduler", name.Validate()}, {"cost-v", costV.Validate()}, {"cost-rate", err}} {
			if wrong.err != nil {
				return command.Misuse(fmt.Errorf("--%s: %w", wrong.flag, wrong.err))
			}
		}
		cfg.Scheduler, cfg.CostV, cfg.CostRate = *scheduler, *v, r.Octets()
		return nil
	}
}

// patience are the flags that say how long connections may be idle.
func patience(c *cobra.Command, to *engine.Inactivity, usual config.Bounds) (parse func() error) {
	f := c.Flags()
	long := f.String("inactivity", "none", "end connections that are idle for this `TIME`, such as 2h, or none; the other end is told, and with 2h,request\n"+
		"asked to be as patient")
	within := f.String("inactivity-bounds", usual.String(), "grant the other end, where it asks for a time, no less and no more than these two `TIMES`;\n"+
		"no connection is idle for longer than the second; with fixed, what the other end asks for changes nothing")
	return func() error {
		i, err := config.ParseInactivity(*long)
		if err != nil {
			return command.Misuse(fmt.Errorf("--inactivity: %w", err))
		}
		b, err := config.ParseBounds(*within)
		if err != nil {
			return command.Misuse(fmt.Errorf("--inactivity-bounds: %w", err))
		}
		*to = i.Engine(b)
		return nil
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
		return parsed, command.Misuse(fmt.Errorf("--listen wants ADDR:PORT with an IP address, not %q", text))
	}
	return parsed, nil
}

func runCommand(state *string) *cobra.Command {
	var cfg server.Config
	c := &cobra.Command{Use: "run", Short: "Run the hub, in the foreground", Args: command.NoArguments}
	parse, parseConduct, parsePatience := options(c, &cfg), conduct(c, &cfg), patience(c, &cfg.Inactivity, config.Bounds{})
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := errors.Join(parse(), parseConduct(), parsePatience()); err != nil {
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
