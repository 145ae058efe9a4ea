package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/app/client"
	"tandem/app/config"
	"tandem/app/control"
	"tandem/app/demo"
	"tandem/platform"
)

// secondsMax is how long a measurement of the demo may take.
const secondsMax = 3600

func demoCommand() *cobra.Command {
	var opt demo.Options
	c := &cobra.Command{Use: "demo", Short: "Show what tandem does, on this machine alone, without root", Args: noArguments}
	c.Flags().BoolVar(&opt.JSON, "json", false, "the result as JSON")
	seconds := c.Flags().Float64("seconds", 0, "length of each measurement, in `seconds`")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if !(*seconds >= 0 && *seconds <= secondsMax) {
			return misuse{fmt.Errorf("--seconds is not negative, and %d at most", secondsMax)}
		}
		opt.Measure = time.Duration(*seconds * float64(time.Second))
		return demo.Run(c.Context(), opt, c.OutOrStdout())
	}
	return c
}

func joinCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "join CODE", Short: "Make this device a hub's", Args: arguments(1, 1, "one code is wanted")}
	c.RunE = func(c *cobra.Command, args []string) error {
		joined, err := o.daemonOf().Join(c.Context(), args[0])
		if errors.Is(err, control.ErrNoDaemon) {
			joined, err = o.joinAlone(c, args[0])
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "This device is %s at the hub %s.\n", joined.Device, joined.Hub)
		return nil
	}
	return c
}

// daemonOf is a client of the daemon of this state, and of no other: it shall join, not somebody else's.
func (o *options) daemonOf() *control.Client { return control.NewClient(o.listenAt()) }

// joinAlone joins while no daemon runs.
func (o *options) joinAlone(c *cobra.Command, code string) (control.Joined, error) {
	host, err := platform.New(platform.Config{})
	if err != nil {
		return control.Joined{}, err
	}
	d, err := client.New(client.Config{State: o.folder(), Host: host})
	if err != nil {
		return control.Joined{}, err
	}
	return d.Join(c.Context(), code)
}

func leaveCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "leave", Short: "Forget the hub, and the keys for it", Args: noArguments}
	c.RunE = func(c *cobra.Command, _ []string) error {
		err := o.daemonOf().Leave(c.Context())
		if errors.Is(err, control.ErrNoDaemon) {
			if _, err := o.folder().Membership(); errors.Is(err, config.ErrNotJoined) {
				return err
			}
			return o.folder().Leave()
		}
		return err
	}
	return c
}

func runCommand(o *options) *cobra.Command {
	var links []string
	var routes, socks, scheduler, establish, hub string
	var verbose bool
	c := &cobra.Command{Use: "run", Short: "Run the daemon, in the foreground", Args: noArguments}
	f := c.Flags()
	f.StringSliceVar(&links, "links", nil, "`NAMES` of the links to use, taken as they are (default: all that are fit)")
	f.StringVar(&routes, "routes", "", "what goes through the hub: default, or `CIDR,…` (default: as set, else default)")
	f.StringVar(&socks, "socks", "", "no TUN and no root: a SOCKS5 and HTTP CONNECT proxy at [USER:PASSWORD@]`ADDR:PORT`")
	f.StringVar(&scheduler, "scheduler", "", "`NAME` of the scheduler")
	f.StringVar(&establish, "establish", "timer", "how connections begin: over the best path, then others (timer), or over all at once (sim): `MODE`")
	f.StringVar(&hub, "hub", "", "")
	f.MarkHidden("hub")
	f.BoolVarP(&verbose, "verbose", "v", false, "log more")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if hub != "" {
			return misuse{errors.New("--hub: proxies of other makes are not supported yet")}
		}
		if slices.Contains(links, "") || c.Flags().Changed("links") && len(links) == 0 {
			return misuse{errors.New("--links wants names with commas between, such as wlan0,wwan0")}
		}
		cfg, err := daemonConfig(o, routes, socks, scheduler, establish)
		if err != nil {
			return err
		}
		level := slog.LevelInfo
		if verbose {
			level = slog.LevelDebug
		}
		cfg.Log = slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
		cfg.Host, err = platform.New(platform.Config{Log: cfg.Log, State: o.state, Only: links})
		if err != nil {
			return err
		}
		d, err := client.New(cfg)
		if err != nil {
			return err
		}
		return d.Run(c.Context())
	}
	return c
}

// daemonConfig reads the flags, and the settings where they say nothing.
func daemonConfig(o *options, routes, socks, scheduler, establish string) (cfg client.Config, err error) {
	cfg = client.Config{
		State: o.folder(), Socket: o.listenAt(), Routes: config.Routes(routes), Scheduler: config.Scheduler(scheduler),
	}
	switch establish {
	case "timer":
	case "sim":
		cfg.AllAtOnce = true
	default:
		return cfg, misuse{fmt.Errorf("--establish is timer or sim, not %q", establish)}
	}
	if err := cfg.Scheduler.Validate(); err != nil {
		return cfg, misuse{fmt.Errorf("--scheduler: %w", err)}
	}
	if routes != "" {
		if err := cfg.Routes.Validate(); err != nil {
			return cfg, misuse{fmt.Errorf("--routes: %w", err)}
		}
	}
	if socks != "" {
		if routes != "" {
			return cfg, misuse{errors.New("--socks takes the place of --routes: programs choose the proxy themselves")}
		}
		cfg.Socks, err = parseSocks(socks)
		return cfg, err
	}
	if routes == "" {
		settings, err := o.folder().Settings()
		if err != nil {
			return cfg, err
		}
		cfg.Routes = settings.Routes
	}
	return cfg, nil
}

func parseSocks(text string) (client.Socks, error) {
	u, err := url.Parse("socks5://" + text)
	if err == nil {
		_, err = strconv.ParseUint(u.Port(), 10, 16)
	}
	if err != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		at := text[strings.LastIndex(text, "@")+1:] // not the password
		return client.Socks{}, misuse{fmt.Errorf("--socks wants ADDR:PORT, such as 127.0.0.1:1080, not %q", at)}
	}
	s := client.Socks{Listen: u.Host, User: u.User.Username()}
	s.Password, _ = u.User.Password()
	return s, nil
}

func checkCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "check", Short: "Say what would be done and what is missing; touch nothing", Args: noArguments}
	c.RunE = func(c *cobra.Command, _ []string) error {
		findings := append(stateFindings(o), platform.Check(platform.Config{State: o.state})...)
		fine := true
		for _, f := range findings {
			mark := "ok     "
			if !f.OK {
				fine, mark = false, "MISSING"
			}
			fmt.Fprintf(c.OutOrStdout(), "%s %-12s %s\n", mark, f.Name, f.Detail)
		}
		if !fine {
			return errSaid
		}
		return nil
	}
	return c
}

// stateFindings looks at what is kept, and for a daemon.
func stateFindings(o *options) []platform.Finding {
	found := []platform.Finding{{Name: "membership", OK: true}, {Name: "settings", OK: true, Detail: "They can be read."}, {Name: "daemon", OK: true}}
	m, err := o.folder().Membership()
	if err != nil {
		found[0].OK, found[0].Detail = false, err.Error()
	} else {
		found[0].Detail = fmt.Sprintf("This device is %s at the hub %s (%v).", m.Name, m.HubName, m.Endpoints)
	}
	if _, err := o.folder().Settings(); err != nil {
		found[1].OK, found[1].Detail = false, err.Error()
	}
	found[2].Detail = "None is running; tandem run would listen at " + o.listenAt() + "."
	asking, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := o.daemonOf().State(asking); !errors.Is(err, control.ErrNoDaemon) {
		found[2].Detail = "One is running, at " + o.listenAt() + "; tandem status asks it."
	}
	return found
}
