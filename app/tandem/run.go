package main

import (
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"tandem/app/client"
	"tandem/app/command"
	"tandem/app/config"
	"tandem/platform"
)

// A manner is what of the system a daemon uses, as it was typed.
type manner struct {
	links              []string
	routes, socks, hub string
}

func (m *manner) flags(c *cobra.Command) {
	f := c.Flags()
	f.SortFlags = false
	f.StringSliceVar(&m.links, "links", nil, "use the links of these `NAMES`, with commas between, whatever they are (default: all that are fit)")
	f.StringVar(&m.socks, "socks", "", "need no root: be a SOCKS5 and HTTP proxy at [USER:PASSWORD@]`ADDR:PORT` for programs that are told so;\n"+
		"@FILE reads that from a file, so that nobody sees the password among the processes")
	f.StringVar(&m.routes, "routes", "", "carry what goes to these `NETWORKS`, with commas between, or default for everything (default: as set, else default)")
	f.StringVar(&m.hub, "hub", "", "use no hub but a proxy of another make at this `URL`, for TCP alone: convert://HOST:PORT,\n"+
		"socks5://[USER:PASSWORD@]HOST:PORT, or implicit://HOST:PORT for one on the way, where HOST:PORT tells whether a link works;\n"+
		"needs no join, and CAP_NET_RAW even with --socks; @FILE reads the URL from a file")
}

// upstream is the proxy of another make, or nil.
func (m *manner) upstream() (*client.Upstream, error) {
	if m.hub == "" {
		return nil, nil
	}
	text, err := fromFile(m.hub)
	if err != nil {
		return nil, about("hub", err)
	}
	u, err := client.ParseUpstream(text)
	if err != nil {
		return nil, command.Misuse(about("hub", err))
	}
	return u, nil
}

// fromFile returns what was typed, or after @ what the file of that name holds.
func fromFile(typed string) (string, error) {
	if name, is := strings.CutPrefix(typed, "@"); is {
		return config.ReadSecret(name)
	}
	return typed, nil
}

// read says what is mistyped.
func (m *manner) read(c *cobra.Command) (routes config.Routes, socks client.Socks, err error) {
	routes = config.Routes(m.routes)
	switch {
	case slices.Contains(m.links, "") || c.Flags().Changed("links") && len(m.links) == 0:
		err = errors.New("--links wants names with commas between, such as wlan0,wwan0")
	case m.socks != "" && m.routes != "":
		err = errors.New("--socks takes the place of --routes: programs choose the proxy themselves")
	case m.socks != "":
		var text string
		if text, err = fromFile(m.socks); err != nil {
			return routes, socks, about("socks", err)
		}
		socks, err = parseSocks(text)
	case m.routes != "":
		err = about("routes", routes.Validate())
	}
	if err != nil {
		err = command.Misuse(err)
	}
	return routes, socks, err
}

const runHelp = `Run the daemon, which connects to the hub, until interrupted.

With --hub a proxy of another make takes the hub's place: a transport converter (RFC 8803), such as tandem-hub convert, or a
SOCKS5 proxy, such as one that runs under mptcpize. What it must speak is Multipath TCP, or each connection takes one link.
Packets leave the links as they are, without a tunnel and without encryption of their own. TCP alone is carried: UDP, ICMP and
the names of hosts go as they did. Links are used on Linux only, and by root or with CAP_NET_RAW.`

func runCommand(o *options) *cobra.Command {
	var m manner
	var h habits
	var verbose bool
	c := &cobra.Command{Use: "run", Short: "Run the daemon, which connects to the hub, until interrupted", Long: runHelp, Args: command.NoArguments}
	m.flags(c)
	f := c.Flags()
	h.flags(f, "as set, else ")
	f.BoolVarP(&verbose, "verbose", "v", false, "log more")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := daemonConfig(c, o, m, h)
		if err != nil {
			return err
		}
		if cfg.Upstream, err = m.upstream(); err != nil {
			return err
		}
		level := slog.LevelInfo
		if verbose {
			level = slog.LevelDebug
		}
		cfg.Log = slog.New(slog.NewTextHandler(c.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
		cfg.Host, err = platform.New(platform.Config{Log: cfg.Log, State: o.state, Only: m.links})
		if err != nil {
			return err
		}
		d, err := client.New(cfg)
		if err != nil {
			return err
		}
		warnEarly(cfg)
		return d.Run(c.Context())
	}
	return c
}

// warnEarly says what will be missing once this device has joined a hub. When it has, missing it is an error.
func warnEarly(cfg client.Config) {
	if _, err := cfg.State.Membership(); cfg.Upstream != nil || !errors.Is(err, config.ErrNotJoined) || cfg.Routes == "" {
		return
	}
	for _, f := range platform.CheckTun() {
		if !f.OK {
			cfg.Log.Warn(f.Detail)
		}
	}
}

// daemonConfig reads the flags, and the settings where they say nothing.
func daemonConfig(c *cobra.Command, o *options, m manner, h habits) (cfg client.Config, err error) {
	cfg = client.Config{State: o.folder(), Socket: o.listenAt()}
	if cfg.Told, err = h.read(); err != nil {
		return cfg, command.Misuse(err)
	}
	if cfg.Routes, cfg.Socks, err = m.read(c); err != nil || cfg.Routes != "" || cfg.Socks.Listen != "" {
		return cfg, err
	}
	settings, err := o.folder().Settings()
	cfg.Routes = settings.Routes
	return cfg, err
}

func parseSocks(text string) (client.Socks, error) {
	u, err := url.Parse("socks5://" + text)
	if err == nil {
		_, err = strconv.ParseUint(u.Port(), 10, 16)
	}
	if err != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		// What was given may be, or hold, a password.
		return client.Socks{}, errors.New("--socks wants ADDR:PORT or USER:PASSWORD@ADDR:PORT, such as 127.0.0.1:1080, with a port up to 65535")
	}
	s := client.Socks{Listen: u.Host, User: u.User.Username()}
	s.Password, _ = u.User.Password()
	return s, nil
}
