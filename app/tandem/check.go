package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"tandem/app/client"
	"tandem/app/command"
	"tandem/app/control"
	"tandem/platform"
	"tandem/tunnel/capture/proxy"
)

func checkCommand(o *options) *cobra.Command {
	var m manner
	c := &cobra.Command{
		Use: "check", Short: "Say what tandem run would do here and what is missing; touch nothing", Args: command.NoArguments,
		Long: "Say what tandem run with the same options would do here, and what is missing; touch nothing.",
	}
	m.flags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		_, socks, err := m.read(c)
		if err != nil {
			return err
		}
		up, err := m.upstream()
		if err != nil {
			return err
		}
		fine := true
		for _, f := range findings(c.Context(), o, m, socks, up) {
			mark := "ok     "
			switch {
			case !f.OK:
				fine, mark = false, "MISSING"
			case f.Aside:
				mark = "-      "
			}
			fmt.Fprintf(c.OutOrStdout(), "%s %-12s %s\n", mark, f.Name, f.Detail)
		}
		if !fine {
			return command.ErrSaid
		}
		return nil
	}
	return c
}

// findings are of what is kept, and of the system: as a daemon that runs says, or as one would find it.
func findings(ctx context.Context, o *options, m manner, socks client.Socks, up *client.Upstream) []platform.Finding {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	state, err := o.daemon().State(ctx)
	found := stateFindings(o)
	if err == nil {
		return append(found, daemonFindings(o, state)...)
	}
	daemon := platform.Finding{Name: "daemon", OK: true, Detail: "None is running; tandem run would listen at " + o.listenAt() + "."}
	if !errors.Is(err, control.ErrNoDaemon) {
		daemon.Detail = fmt.Sprintf("One is running, at %s, and does not say how it is: %v.", o.listens(), err)
	}
	peer := membershipFinding(o)
	if up != nil {
		peer = platform.Finding{Name: "hub", OK: true, Detail: fmt.Sprintf("A proxy of another make takes its place: %s at %s.", up.Kind, up.Endpoint)}
	}
	found = append(found, peer, daemon)
	if up != nil {
		found = append(found, platform.CheckRaw(), platform.CheckPorts(client.NativePort))
	}
	system := platform.Config{State: o.state, Only: m.links}
	if socks.Listen == "" {
		return append(found, slices.DeleteFunc(platform.Check(system), func(f platform.Finding) bool {
			return up != nil && f.Name == platform.ResolverFinding // which is not touched
		})...)
	}
	p := platform.Finding{Name: "proxy", OK: true, Detail: "Programs that use the proxy at " + socks.Listen + " use the hub."}
	if err := proxy.Check(socks.Listen, socks.Password); err != nil {
		p.OK, p.Detail = false, err.Error()
	}
	return append(append(found, p), platform.CheckLinks(system)...)
}

func stateFindings(o *options) []platform.Finding {
	f := platform.Finding{Name: "settings", OK: true, Detail: "They can be read."}
	if _, err := o.folder().Settings(); err != nil {
		f.OK, f.Detail = false, err.Error()
	}
	return []platform.Finding{f}
}

func membershipFinding(o *options) platform.Finding {
	m, err := o.folder().Membership()
	if err != nil {
		return platform.Finding{Name: "membership", Detail: err.Error()}
	}
	return platform.Finding{Name: "membership", OK: true, Detail: fmt.Sprintf("This device is %s at the hub %s (%v).", m.Name, m.HubName, m.Endpoints)}
}

// daemonFindings is what a daemon says: it has what it needs of the system.
func daemonFindings(o *options, s control.State) []platform.Finding {
	member := platform.Finding{Name: "membership", OK: s.Phase != control.NotJoined, Detail: s.Reason}
	if member.OK {
		member.Detail = fmt.Sprintf("The hub is %s (%s).", s.Hub.Name, s.Hub.Endpoint)
	}
	daemon := platform.Finding{Name: "daemon", OK: true, Detail: fmt.Sprintf("One is running, at %s: %s.", o.listens(), s.Phase)}
	found := []platform.Finding{member, daemon}
	for _, l := range s.Links {
		f := platform.Finding{Name: "link " + l.Name, OK: true, Detail: l.State}
		f.Aside = l.State == control.LinkOff || l.State == control.LinkUnusable
		if l.Reason != "" {
			f.Detail += ": " + l.Reason
		}
		found = append(found, f)
	}
	return found
}
