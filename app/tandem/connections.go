package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem/app/command"
	"tandem/app/control"
)

const connectionsHelp = `List the connections that programs have through the hub, or look after the one with number N.

  N                        show it: how it was begun, how long it may be idle, and its subflows, which are what of it goes over
                           each link, and how fast they may be
  N --watch                say what happens to its subflows, a line each, until it is over or you interrupt
  N close                  end it: its program is told that it was reset
  N remove LINK            have it use that link no more, and tell the other end so
  N add LINK               have it use a link again
  N subflow open LINK      have it use a link that it does not use
  N subflow ID close       have it use that link no more, as soon as another carries what it would
  N subflow ID backup      have it use that link only when no other works
  N subflow ID primary     have it use that link like the others

What is done to one connection leaves the others as they are; tandem link is for all.`

// A lookup is what is wanted of connections, as it was typed.
type lookup struct{ json, trace, watch, backup, reset bool }

func connectionsCommand(o *options) *cobra.Command {
	var l lookup
	c := &cobra.Command{
		Use: "connections [N [close | add LINK | remove LINK | subflow open LINK | subflow ID close|backup|primary]]", Short: "List the connections, show one, or close or move it",
		Long: connectionsHelp, Args: command.Arguments(0, 4, "that is too much: tandem connections --help says what there is"),
	}
	f := c.Flags()
	f.SortFlags = false
	f.BoolVar(&l.json, "json", false, "list or show as one line of JSON")
	f.BoolVar(&l.trace, "trace", false, "show its last events too")
	f.BoolVar(&l.watch, "watch", false, "say what happens to its subflows, until interrupted")
	f.BoolVar(&l.backup, "backup", false, "open a subflow that is used only when no other works")
	f.BoolVar(&l.reset, "reset", false, "close a subflow at once: what it holds goes out over others")
	c.RunE = func(c *cobra.Command, args []string) error {
		do, fits, err := l.read(args)
		if err == nil {
			err = l.unfit(fits)
		}
		if err != nil {
			return command.Misuse(err)
		}
		return do(c.Context(), o.daemon(), c.OutOrStdout())
	}
	return c
}

// An errand is what is done with the daemon.
type errand func(ctx context.Context, daemon *control.Client, out io.Writer) error

// read understands the words. fits are the flags that go with them.
func (l *lookup) read(words []string) (do errand, fits lookup, err error) {
	if len(words) == 0 {
		return l.list, lookup{json: true}, nil
	}
	n, err := strconv.Atoi(words[0])
	if err != nil || n < 1 {
		return nil, fits, fmt.Errorf("%q is not the number of a connection: tandem connections lists them", words[0])
	}
	switch rest := words[1:]; {
	case len(rest) == 0 && l.watch:
		return l.follow(n), lookup{json: true, watch: true}, nil
	case len(rest) == 0:
		return l.show(n), lookup{json: true, trace: true}, nil
	case rest[0] == "close" && len(rest) == 1:
		return closing(n), fits, nil
	case (rest[0] == "add" || rest[0] == "remove") && len(rest) == 2:
		return using(n, rest[1], rest[0] == "add"), fits, nil
	case rest[0] == "add" || rest[0] == "remove":
		return nil, fits, fmt.Errorf("%s wants the name of a link", rest[0])
	case rest[0] == "subflow" && len(rest) == 3 && rest[1] == "open":
		return l.open(n, rest[2]), lookup{backup: true}, nil
	case rest[0] == "subflow" && len(rest) == 3:
		return l.subflow(n, rest[1], rest[2])
	case rest[0] == "subflow":
		return nil, fits, errors.New("subflow wants two words: open LINK, or ID and one of close, backup and primary")
	}
	return nil, fits, fmt.Errorf("%q is none of close, add, remove and subflow", strings.Join(words[1:], " "))
}

// unfit says which flag means nothing here.
func (l *lookup) unfit(fits lookup) error {
	for _, f := range []struct {
		name       string
		given, fit bool
	}{{"json", l.json, fits.json}, {"trace", l.trace, fits.trace}, {"watch", l.watch, fits.watch}, {"backup", l.backup, fits.backup}, {"reset", l.reset, fits.reset}} {
		if f.given && !f.fit {
			return fmt.Errorf("--%s means nothing here", f.name)
		}
	}
	return nil
}

func (l *lookup) list(ctx context.Context, daemon *control.Client, out io.Writer) error {
	all, err := daemon.Connections(ctx)
	switch {
	case err != nil:
		return err
	case l.json:
		return writeJSON(out, all)
	}
	return writeConnections(out, all)
}

func (l *lookup) show(n int) errand {
	return func(ctx context.Context, daemon *control.Client, out io.Writer) error {
		one, err := daemon.Connection(ctx, n)
		if err != nil {
			return err
		}
		if !l.trace {
			one.Trace = ""
		}
		if l.json {
			return writeJSON(out, one)
		}
		return writeConnection(out, one)
	}
}

func closing(n int) errand {
	return func(ctx context.Context, daemon *control.Client, out io.Writer) error {
		err := daemon.CloseConnection(ctx, n)
		if err == nil {
			fmt.Fprintf(out, "Connection %d is closed.\n", n)
		}
		return err
	}
}

func using(n int, link string, use bool) errand {
	return func(ctx context.Context, daemon *control.Client, out io.Writer) error {
		err := daemon.UseLink(ctx, n, link, use)
		switch {
		case err != nil:
		case use:
			fmt.Fprintf(out, "Connection %d uses %s from now on.\n", n, link)
		default:
			fmt.Fprintf(out, "Connection %d uses %s no more, as soon as another link carries what it would.\n", n, link)
		}
		return err
	}
}

func (l *lookup) open(n int, link string) errand {
	return func(ctx context.Context, daemon *control.Client, out io.Writer) error {
		id, err := daemon.OpenSubflow(ctx, n, control.SubflowOpen{Link: link, Backup: l.backup})
		if err == nil {
			fmt.Fprintf(out, "Connection %d opens subflow %d over %s; tandem connections %d says when it is established.\n", n, id, link, n)
		}
		return err
	}
}

// subflow understands what is to be done with one.
func (l *lookup) subflow(n int, which, verb string) (do errand, fits lookup, err error) {
	id, err := strconv.Atoi(which)
	if err != nil || id < 1 {
		return nil, fits, fmt.Errorf("%q is neither open nor the number of a subflow: tandem connections %d lists them", which, n)
	}
	var change control.SubflowChange
	said := "is asked to carry what the others do"
	switch backup := verb == "backup"; {
	case backup || verb == "primary":
		change.Backup = &backup
		if backup {
			said = "is used only when no other works"
		}
	case verb == "close":
		fits.reset = true
		change.Close, said = control.CloseFIN, "ends as soon as another carries what it would"
		if l.reset {
			change.Close = control.CloseReset
		}
	default:
		return nil, fits, fmt.Errorf("%q is none of close, backup and primary", verb)
	}
	return func(ctx context.Context, daemon *control.Client, out io.Writer) error {
		err := daemon.ChangeSubflow(ctx, n, id, change)
		if err == nil {
			fmt.Fprintf(out, "Subflow %d of connection %d %s.\n", id, n, said)
		}
		return err
	}, fits, nil
}

func writeConnections(out io.Writer, all []control.Connection) error {
	return table(out, func(w io.Writer) {
		fmt.Fprintln(w, "N\tTARGET\tSTATE\tAGE\tSENT\tRECEIVED\tLINKS")
		for _, c := range all {
			fmt.Fprintf(w, "%d\t%v\t%s\t%v\t%s\t%s\t", c.Number, c.Target, stateOf(c), time.Since(c.Opened).Round(time.Second),
				scaled(float64(c.Sent), "B"), scaled(float64(c.Received), "B"))
			for i, f := range c.Subflows {
				if i > 0 {
					fmt.Fprint(w, ", ")
				}
				fmt.Fprint(w, f.Link)
			}
			fmt.Fprintln(w)
		}
	})
}

// stateOf says it when a connection uses one link only, whatever else is there.
func stateOf(c control.Connection) string {
	if c.State == "open" && !c.Multipath {
		return "open, TCP only"
	}
	return c.State
}

func writeConnection(out io.Writer, c control.Connection) error {
	err := writeConnections(out, []control.Connection{c})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\ntoken %08x, %s sent again over another link, %s wait to be sent, %s to be read\n", c.Token,
		scaled(float64(c.Resent), "B"), scaled(float64(c.SendQueue), "B"), scaled(float64(c.RecvQueue), "B"))
	fmt.Fprintf(out, "begun by %s%s%s, scheduler %s, %s\n\n", c.Establish, haste(c.FastOpen), wayOf(c.Via), c.Scheduler, patience(c.Inactivity))
	err = table(out, func(w io.Writer) {
		fmt.Fprintln(w, "ID\tLINK\tSTATE\tUSE\tRTT\tWINDOW\tIN FLIGHT\tSENT\tRECEIVED\tRESENT\tLIMIT\tADDRESSES")
		for _, f := range c.Subflows {
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%v > %v\n", f.ID, f.Link, f.State, useOf(f), latency(f),
				scaled(float64(f.Window), "B"), scaled(float64(f.Outstanding), "B"),
				scaled(float64(f.Sent), "B"), scaled(float64(f.Received), "B"), f.Retransmits, limitOf(f), f.Local, f.Remote)
		}
	})
	if err == nil && c.Trace != "" {
		_, err = fmt.Fprintf(out, "\n%s", c.Trace)
	}
	return err
}

// haste says what rode in the SYN.
func haste(octets int) string {
	if octets == 0 {
		return ""
	}
	return fmt.Sprintf(" with %d octets in the SYN", octets)
}

// wayOf says what people would not expect: another way than through the hub.
func wayOf(via control.Via) string {
	return map[control.Via]string{
		control.ViaProxy:    ", through the proxy",
		control.ViaBypass:   ", past the proxy, since the target speaks Multipath TCP itself",
		control.ViaDirect:   ", past the proxy, which is of no use now",
		control.ViaImplicit: ", to the target or a proxy on the way",
	}[via]
}

// latency is that of there and back, and as far as they are known of either, of which only differences between links count.
func latency(f control.Subflow) string {
	text := roundTrip(f.RTT)
	if f.Forward != 0 || f.Backward != 0 {
		text += fmt.Sprintf(" (%.1f there, %.1f back)", f.Forward, f.Backward)
	}
	return text
}

// patience says how long a connection may be idle.
func patience(i control.Inactivity) string {
	long := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)).Round(time.Second) }
	said := "may be idle for ever"
	if i.Used > 0 {
		said = fmt.Sprintf("may be idle for %v, of which %v are left", long(i.Used), long(i.Left))
	}
	switch {
	case i.Peer > 0 && i.PeerRequests:
		said += fmt.Sprintf("; the other end asks for %v", long(i.Peer))
	case i.Peer > 0:
		said += fmt.Sprintf("; the other end waits for %v", long(i.Peer))
	}
	if i.Request && i.Own > 0 {
		said += "; the other end is asked to be as patient"
	}
	return said
}

// limitOf says how fast a subflow may be: what this end keeps to, and what it asks the other to keep to.
func limitOf(f control.Subflow) string {
	var said []string
	if f.Limit > 0 {
		said = append(said, "up "+scaled(float64(f.Limit), "bit/s"))
	}
	if f.AskedLimit > 0 {
		said = append(said, "down "+scaled(float64(f.AskedLimit), "bit/s"))
	}
	if said == nil {
		return "-"
	}
	return strings.Join(said, ", ")
}

// useOf says in a word or two what a subflow is used for now.
func useOf(f control.Subflow) string {
	switch {
	case f.Leaving:
		return "leaving"
	case !f.Established:
		return "-"
	case f.Muted:
		return "unwanted there"
	case f.Silent:
		return "silent"
	case f.Backup && f.PeerBackup:
		return "backup"
	case f.Backup:
		return "backup here"
	case f.PeerBackup:
		return "backup there"
	}
	return "primary"
}
