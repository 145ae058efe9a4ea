package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tandem/app/command"
	"tandem/app/config"
	"tandem/app/control"
	"tandem/platform"
)

func upCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "up", Short: "Use the hub again, after down", Args: command.NoArguments,
		Long: "Have the daemon connect to the hub and carry the traffic of programs, now and after a restart.",
		RunE: func(c *cobra.Command, _ []string) error {
			err := o.daemon().Up(c.Context())
			if err == nil {
				c.Println("Programs use the hub as soon as it answers; tandem status says when.")
			}
			return err
		},
	}
}

func downCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Stop using the hub; programs use the Internet directly", Args: command.NoArguments,
		Long: "Stop using the hub, until up: programs use the Internet directly. The daemon goes on running.\n" +
			"Where a daemon was killed, what it left in the system is undone.",
		RunE: func(c *cobra.Command, _ []string) error {
			err := o.daemon().Down(c.Context())
			if errors.Is(err, control.ErrNoDaemon) {
				err = o.tidy(err)
			}
			if err == nil {
				c.Println("Programs use the Internet directly now.")
			}
			return err
		},
	}
}

// tidy undoes what a daemon that was killed left in the system. Where nothing is left, it fails with otherwise.
func (o *options) tidy(otherwise error) error {
	if _, err := os.Stat(platform.Remains(o.state)); err != nil {
		return otherwise
	}
	host, err := platform.New(platform.Config{State: o.state})
	if err != nil {
		return err
	}
	return host.Route(platform.Routing{})
}

func statusCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "status", Short: "Say whether the hub is connected, over which links and how fast", Args: command.NoArguments}
	asJSON := c.Flags().Bool("json", false, "as one line of JSON")
	watch := c.Flags().Bool("watch", false, "say it again whenever it changes, until interrupted")
	counters := c.Flags().Bool("counters", false, "what has been counted since up, instead: options heard, limits met, packets and attacks refused")
	c.RunE = func(c *cobra.Command, _ []string) error {
		show := func(s control.State) error {
			switch {
			case *asJSON:
				return writeJSON(c.OutOrStdout(), s)
			case *counters:
				return writeCounters(c.OutOrStdout(), s.Counters)
			}
			return writeState(c.OutOrStdout(), s)
		}
		if !*watch {
			s, err := o.daemon().State(c.Context())
			if err != nil {
				return err
			}
			return show(s)
		}
		var wrong error
		ctx, cancel := context.WithCancel(c.Context())
		defer cancel()
		err := o.daemon().Watch(ctx, func(s control.State) {
			if wrong = show(s); wrong != nil {
				cancel()
			}
		})
		if c.Context().Err() != nil {
			return nil
		}
		return errors.Join(wrong, err)
	}
	return c
}

func linksCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "links", Short: "List this machine's links: how each is used, or why it is not", Args: command.NoArguments}
	asJSON := c.Flags().Bool("json", false, "as one line of JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		s, err := o.daemon().State(c.Context())
		if err != nil {
			return err
		}
		if *asJSON {
			return writeJSON(c.OutOrStdout(), s.Links)
		}
		return writeLinks(c.OutOrStdout(), s.Links)
	}
	return c
}

func linkCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use: "link NAME [on|off|primary|secondary|backup|never]", Short: "Say how a link is to be used, now and after a restart",
		Long: linkHelp, Args: command.Arguments(1, 2, "a link's name, and at most one word, are wanted"),
	}
	f := c.Flags()
	f.SortFlags = false
	f.String("limit-up", "", "send at most at this `RATE`, such as 5M for 5 Mbit/s, or none")
	f.String("limit-down", "", "have the hub send at most at this `RATE`, such as 20M, or none; proxies of other makes are asked to")
	f.String("cap", "", "use at most this `SIZE` in a month, such as 20GB, or none")
	f.Int("reset-day", 1, "`DAY` of the month on which the cap begins anew, 1 to 28")
	f.Float64("price", 0, "`PRICE` of a gigabyte, in any currency that is the same for all links: for --scheduler cost")
	f.String("private", "", "`on` or off: its connections take no other link, and those of others do not take it")
	f.String("deny", "", "have it be private while it has an address in one of these `NETWORKS`, with commas between, or none")
	f.String("address", "", "what its network promises of addresses, a `TYPE`: "+config.Addresses)
	c.RunE = func(c *cobra.Command, args []string) error {
		change, err := linkChange(c, args[1:])
		if err != nil {
			return command.Misuse(err)
		}
		if change == (control.LinkChange{}) {
			return command.Misuse(errors.New("what is to change?"))
		}
		if err := o.daemon().SetLink(c.Context(), args[0], change); err != nil {
			return err
		}
		c.Println(changed(c, args))
		return nil
	}
	return c
}

const linkHelp = `Say how a link is to be used, now and after a restart.

  on, off     whether it is used at all
  primary     it is used first, which is how links begin
  secondary   it is used when those that are primary are full
  backup      it is used when none of the others works
  never       it carries no packet

A link that is private is for connections that shall not be known to have to do with others: it is taken, alone, by those that
begin while no other link is connected, and by programs that bind themselves to its address. UDP and ICMP take it as its role
says. When an address is about to go away, because its lease ends, connections take other links in time. What a network may
promise of addresses is that they stay (fixed), that they stay as long as connections do (session-lasting), or nothing
(non-persistent).`

// changed says what was changed, as it was typed.
func changed(c *cobra.Command, args []string) string {
	said := args[0] + ":"
	if len(args) > 1 {
		said = args[0] + " is now " + args[1]
	}
	for _, name := range []string{"limit-up", "limit-down", "cap", "reset-day", "price", "private", "deny", "address"} {
		if f := c.Flags().Lookup(name); f.Changed {
			said += fmt.Sprintf(", %s %s", name, f.Value)
		}
	}
	return strings.Replace(said, ":,", ":", 1)
}

// linkChange reads what is to change: a word, and those flags that were given.
func linkChange(c *cobra.Command, words []string) (l control.LinkChange, err error) {
	for _, w := range words {
		switch on, role := w == "on", config.Role(w); {
		case on || w == "off":
			l.On = &on
		case slices.Contains(config.Roles, role):
			l.Role = &role
		default:
			return l, fmt.Errorf("%q is none of on, off, primary, secondary, backup and never", w)
		}
	}
	f := c.Flags()
	rate := func(name string, to **config.Rate) {
		if text, _ := f.GetString(name); f.Changed(name) {
			r, wrong := config.ParseRate(text)
			*to, err = &r, errors.Join(err, about(name, wrong))
		}
	}
	rate("limit-up", &l.LimitUp)
	rate("limit-down", &l.LimitDown)
	if text, _ := f.GetString("cap"); f.Changed("cap") {
		s, wrong := config.ParseSize(text)
		l.Cap, err = &s, errors.Join(err, about("cap", wrong))
	}
	if day, _ := f.GetInt("reset-day"); f.Changed("reset-day") {
		l.ResetDay = &day
		if day < 1 || day > 28 {
			err = errors.Join(err, fmt.Errorf("--reset-day: %d is not a day that every month has, 1 to 28", day))
		}
	}
	if price, _ := f.GetFloat64("price"); f.Changed("price") {
		l.Price = &price
	}
	err = errors.Join(err, privacyChange(f, &l))
	if err != nil {
		return l, err
	}
	set := l.Apply(config.NewLink())
	return l, set.Validate()
}

// privacyChange reads what is to change of who learns of a link.
func privacyChange(f *pflag.FlagSet, l *control.LinkChange) (err error) {
	if text, _ := f.GetString("private"); f.Changed("private") {
		on, wrong := onOff(text)
		l.Private, err = &on, about("private", wrong)
	}
	if text, _ := f.GetString("deny"); f.Changed("deny") {
		n, wrong := config.ParseNetworks(text)
		l.Deny, err = &n, errors.Join(err, about("deny", wrong))
	}
	if text, _ := f.GetString("address"); f.Changed("address") {
		a := config.Address(text)
		l.Address, err = &a, errors.Join(err, about("address", a.Validate()))
	}
	return err
}

// about says which flag is wrong.
func about(flag string, wrong error) error {
	if wrong == nil {
		return nil
	}
	return fmt.Errorf("--%s: %w", flag, wrong)
}

func flowsCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "flows", Short: "List the flows of UDP and ICMP of the last minute", Args: command.NoArguments}
	c.RunE = func(c *cobra.Command, _ []string) error {
		all, err := o.daemon().Flows(c.Context())
		if err != nil {
			return err
		}
		return table(c.OutOrStdout(), func(w io.Writer) {
			fmt.Fprintln(w, "PROTOCOL\tSOURCE\tTARGET\tSENT\tRECEIVED\tLAST")
			for _, f := range all {
				fmt.Fprintf(w, "%s\t%v\t%v\t%d\t%d\t%s\n", f.Protocol, f.Source, f.Target, f.Sent, f.Received, f.Last.Format(time.TimeOnly))
			}
		})
	}
	return c
}
