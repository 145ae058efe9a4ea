package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"tandem/app/config"
	"tandem/app/control"
	"tandem/app/tally"
)

func writeJSON(out io.Writer, value any) error { return json.NewEncoder(out).Encode(value) }

// table lines up what write separates by tabs.
func table(out io.Writer, write func(io.Writer)) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	write(w)
	return w.Flush()
}

func writeState(out io.Writer, s control.State) error {
	fmt.Fprintf(out, "%s", s.Phase)
	if s.Hub.Name != "" {
		fmt.Fprintf(out, ", hub %s at %s", s.Hub.Name, s.Hub.Endpoint)
	}
	fmt.Fprintf(out, ", %d connections\n", s.Connections)
	if s.Reason != "" {
		fmt.Fprintln(out, s.Reason)
	}
	if s.Scheduler != "" {
		fmt.Fprintf(out, "scheduler %s, establish %s (%d races, %d switches), inactivity %v\n",
			s.Scheduler, s.Establish, s.Races, s.Switches, s.Inactivity)
		fmt.Fprintf(out, "privacy %s, fast open %s (%d taken, %d refused), address %s\n",
			s.Privacy, switched(s.FastOpen), s.FastOpens, s.FastOpensRefused, s.Address)
		fmt.Fprint(out, unusual(s))
	}
	if s.Scheduler == config.SchedulerCost {
		fmt.Fprintf(out, "cost: %d octets wait rather than pay a thousandth more, at least %s\n", s.CostV, scaled(float64(s.CostRate), "bit/s"))
	}
	return writeLinks(out, s.Links)
}

// unusual says what is set that few people set.
func unusual(s control.State) string {
	var said []string
	if s.Bounds != (config.Bounds{}) {
		said = append(said, "inactivity bounds "+s.Bounds.String())
	}
	if s.ImplicitESIM {
		said = append(said, "implicit esim on")
	}
	if s.Prototype.Meaning() != 0 {
		said = append(said, "prototype "+s.Prototype.String())
	}
	if said == nil {
		return ""
	}
	return strings.Join(said, ", ") + "\n"
}

// writeCounters lists what has been counted, but for what has not happened.
func writeCounters(out io.Writer, counters tally.Tally) error {
	return table(out, func(w io.Writer) {
		fmt.Fprintln(w, "COUNTER\tCOUNT")
		for _, name := range slices.Sorted(maps.Keys(counters)) {
			if counters[name] > 0 {
				fmt.Fprintf(w, "%s\t%d\n", name, counters[name])
			}
		}
	})
}

func switched(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func writeLinks(out io.Writer, links []control.Link) error {
	return table(out, func(w io.Writer) {
		fmt.Fprintln(w, "LINK\tKIND\tROLE\tSTATE\tRTT\tLOSS\tDOWN\tUP\tRECEIVED\tSENT\t")
		for _, l := range links {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Name, l.Kind, l.Role, l.State,
				roundTrip(l.RTT), loss(l),
				rate(l.RxRate, l.LimitDown, l.PeerDown, l.Granted), rate(l.TxRate, l.LimitUp, l.PeerUp, true),
				scaled(float64(l.Rx), "B"), scaled(float64(l.Tx), "B"), l.Reason)
		}
	})
}

// rate is how fast a link carries, and at most may, by what either end says. What the other end has not taken note of
// is only asked for.
func rate(now float64, own, peer config.Rate, granted bool) string {
	text := scaled(now, "bit/s")
	limit, asked := own, own > 0 && !granted
	if peer > 0 && (limit == 0 || peer < limit) {
		limit, asked = peer, false
	}
	if limit == 0 {
		return text
	}
	text += ", max " + scaled(float64(limit), "bit/s")
	if asked {
		text += " asked"
	}
	return text
}

// loss is known of links that are connected.
func loss(l control.Link) string {
	if l.State != control.LinkConnected {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*l.Loss)
}

func roundTrip(ms float64) string {
	if ms == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f ms", ms)
}

// scaled writes n with a unit and one of k, M, G, T.
func scaled(n float64, unit string) string {
	for _, s := range []struct {
		letter string
		factor float64
	}{{"T", 1e12}, {"G", 1e9}, {"M", 1e6}, {"k", 1e3}} {
		if n >= s.factor {
			return fmt.Sprintf("%.1f %s%s", n/s.factor, s.letter, unit)
		}
	}
	return fmt.Sprintf("%.0f %s", n, unit)
}
