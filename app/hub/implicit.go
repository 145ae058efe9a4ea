package main

import (
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/spf13/cobra"

	"tandem/app/command"
	"tandem/app/config"
	"tandem/app/server"
)

const implicitHelp = `Run a proxy that clients need not know, in the foreground: on a router that their packets pass. A connection of Multipath TCP
to a server that does not speak it is taken on here; the client is asked not to send further subflows to the server's address,
and told this proxy's instead (RFC 8684, flag C and ADD_ADDR), which is therefore one that its other links reach. Servers that
speak Multipath TCP themselves are found out, and left to their clients from then on. It encrypts nothing.

The address is routed to this machine and on none of its interfaces. Clients' packets are led into the device by you, once it
is there, and come out of it again if they are none of the proxy's:

  ip route add default dev tandem1 table 100
  ip rule add iif lan0 ipproto tcp table 100 priority 7000

It takes root or CAP_NET_ADMIN. The kernel's Multipath TCP must be on (sysctl net.mptcp.enabled), and forwarding, too.`

func implicitCommand() *cobra.Command {
	var cfg server.ImplicitConfig
	c := &cobra.Command{Use: "implicit", Short: "Run a proxy of Multipath TCP on a router, which is no hub", Long: implicitHelp, Args: command.NoArguments}
	f := c.Flags()
	f.StringVar(&cfg.Device, "device", "tandem1", "`NAME` of the TUN device to make")
	own := f.StringSlice("announce", nil, "`ADDRESSES` of the proxy, one of IPv4, one of IPv6, or both with a comma between")
	f.BoolVar(&cfg.AllowLAN, "allow-lan", false, "take on connections to this machine's local network, too")
	f.BoolVar(&cfg.AllowSMTP, "allow-smtp", false, "take on connections to TCP port 25, too")
	f.StringVar(&cfg.Metrics, "metrics", "", "loopback `ADDR:PORT` at which Prometheus finds metrics")
	parse := patience(c, &cfg.Inactivity, config.Bounds{Least: config.InactivityLeast, Most: server.ImplicitPatience})
	prototype := config.Prototype("none")
	f.StringVar((*string)(&prototype), "prototype", "none", "take the option of the drafts' prototypes as this `NAME`: "+config.Prototypes)
	stateless(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := parse(); err != nil {
			return err
		}
		if err := prototype.Validate(); err != nil {
			return command.Misuse(fmt.Errorf("--prototype: %w", err))
		}
		cfg.Prototype = prototype.Meaning()
		for _, text := range *own {
			a, err := netip.ParseAddr(text)
			if err != nil {
				return command.Misuse(fmt.Errorf("--announce wants IP addresses, not %q", text))
			}
			cfg.Own = append(cfg.Own, a)
		}
		cfg.Log = slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))
		proxy, err := server.NewImplicit(cfg)
		if err != nil {
			return command.Misuse(err)
		}
		return proxy.Run(c.Context())
	}
	return c
}
