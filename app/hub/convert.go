package main

import (
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/spf13/cobra"

	"tandem/app/command"
	"tandem/app/server"
)

const convertHelp = `Run a transport converter (RFC 8803), in the foreground: clients that speak Multipath TCP ask it for connections to servers
that may not, in the first octets of a connection, and pay no round trip for it. tandem run --hub convert://HOST:PORT is such a
client. It is no hub: it knows no devices, carries TCP alone, and encrypts nothing.

Who may use it is told by --clients. It uses the Multipath TCP of this machine's kernel, which must be switched on
(sysctl net.mptcp.enabled). What clients ask rides in their SYNs where the sysctl net.ipv4.tcp_fastopen=3 lets it; else it costs
a round trip. To clients other than tandem Linux 6.18 may then send more than they have room for, and is slow to repeat it.`

func convertCommand() *cobra.Command {
	var cfg server.ConvertConfig
	c := &cobra.Command{Use: "convert", Short: "Run a transport converter (RFC 8803), which is no hub", Long: convertHelp, Args: command.NoArguments}
	f := c.Flags()
	listen := f.String("listen", fmt.Sprintf(":%d", server.ConvertPort), "`ADDR:PORT` of clients' TCP; no address means all")
	clients := f.StringSlice("clients", nil, "serve these `NETWORKS`, with commas between (default: those that this machine is on)")
	f.BoolVar(&cfg.Cookies, "cookies", false, "want a cookie of clients, so that they cannot ask in the name of others: for clients of networks that this machine is not on")
	f.BoolVar(&cfg.AllowLAN, "allow-lan", false, "let clients reach this machine's local network")
	f.BoolVar(&cfg.AllowSMTP, "allow-smtp", false, "let clients reach TCP port 25")
	f.StringVar(&cfg.Metrics, "metrics", "", "loopback `ADDR:PORT` at which Prometheus finds metrics")
	stateless(c)
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if cfg.Listen, err = parseListen(*listen); err != nil {
			return err
		}
		for _, text := range *clients {
			p, err := netip.ParsePrefix(text)
			if err != nil {
				return command.Misuse(fmt.Errorf("--clients wants networks such as 192.0.2.0/24, not %q", text))
			}
			cfg.Clients = append(cfg.Clients, p.Masked())
		}
		cfg.Log = slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))
		converter, err := server.NewConverter(cfg)
		if err != nil {
			return err
		}
		cfg.Log.Info("converter listens", "at", converter.Addr())
		return converter.Run(c.Context())
	}
	return c
}

// stateless hides --state of a command that keeps nothing.
func stateless(c *cobra.Command) {
	c.Flags().String("state", "", "")
	c.Flags().MarkHidden("state")
}
