package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"tandem/app/config"
	"tandem/app/control"
	"tandem/platform"
)

func upCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "up", Short: "Have the daemon capture and connect, now and after a restart", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return o.daemon().Up(c.Context()) },
	}
}

func downCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Have the daemon undo all that, until up; or undo what one that was killed left", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			err := o.daemon().Down(c.Context())
			if errors.Is(err, control.ErrNoDaemon) {
				return o.tidy(err)
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
	c := &cobra.Command{Use: "status", Short: "Say how things are", Args: noArguments}
	asJSON := c.Flags().Bool("json", false, "as JSON, one line")
	watch := c.Flags().Bool("watch", false, "again whenever it changes")
	c.RunE = func(c *cobra.Command, _ []string) error {
		show := func(s control.State) error {
			if *asJSON {
				return writeJSON(c.OutOrStdout(), s)
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
	c := &cobra.Command{Use: "links", Short: "List the links, and why one is not used", Args: noArguments}
	asJSON := c.Flags().Bool("json", false, "as JSON, one line")
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
		Args: arguments(1, 2, "a link's name, and at most one word, are wanted"),
	}
	f := c.Flags()
	f.String("limit-up", "", "at most this `rate` away, such as 5Mbit, or none")
	f.String("limit-down", "", "at most this `rate` here, such as 20Mbit, or none")
	f.String("cap", "", "`size` that may be used in a month, such as 20GB, or none")
	f.Int("reset-day", 1, "`day` of the month on which the cap begins anew, 1 to 28")
	f.Float64("price", 0, "`price` of a gigabyte")
	c.RunE = func(c *cobra.Command, args []string) error {
		change, err := linkChange(c, args[1:])
		if err != nil {
			return misuse{err}
		}
		if change == (control.LinkChange{}) {
			return misuse{errors.New("what is to change?")}
		}
		return o.daemon().SetLink(c.Context(), args[0], change)
	}
	return c
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
			*to, err = &r, errors.Join(err, wrong)
		}
	}
	rate("limit-up", &l.LimitUp)
	rate("limit-down", &l.LimitDown)
	if text, _ := f.GetString("cap"); f.Changed("cap") {
		s, wrong := config.ParseSize(text)
		l.Cap, err = &s, errors.Join(err, wrong)
	}
	if day, _ := f.GetInt("reset-day"); f.Changed("reset-day") {
		l.ResetDay = &day
	}
	if price, _ := f.GetFloat64("price"); f.Changed("price") {
		l.Price = &price
	}
	if err != nil {
		return l, err
	}
	set := l.Apply(config.NewLink())
	return l, set.Validate()
}

func connectionsCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use: "connections [N]", Short: "List the connections, or show one with its last events", Args: arguments(0, 1, "at most one number is wanted"),
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			all, err := o.daemon().Connections(c.Context())
			if err != nil {
				return err
			}
			return writeConnections(c.OutOrStdout(), all)
		}
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return misuse{fmt.Errorf("%q is not the number of a connection", args[0])}
		}
		one, err := o.daemon().Connection(c.Context(), n)
		if err != nil {
			return err
		}
		return writeConnection(c.OutOrStdout(), one)
	}
	return c
}

func flowsCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "flows", Short: "List the flows of UDP and ICMP of the last minute", Args: noArguments}
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
