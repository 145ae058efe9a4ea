package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"tandem/app/control"
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
	return writeLinks(out, s.Links)
}

func writeLinks(out io.Writer, links []control.Link) error {
	return table(out, func(w io.Writer) {
		fmt.Fprintln(w, "LINK\tKIND\tROLE\tSTATE\tRTT\tLOSS\tDOWN\tUP\tRECEIVED\tSENT\t")
		for _, l := range links {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", l.Name, l.Kind, l.Role, l.State,
				roundTrip(l.RTT), loss(l), scaled(l.RxRate, "bit/s"), scaled(l.TxRate, "bit/s"),
				scaled(float64(l.Rx), "B"), scaled(float64(l.Tx), "B"), l.Reason)
		}
	})
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

func writeConnections(out io.Writer, all []control.Connection) error {
	return table(out, func(w io.Writer) {
		fmt.Fprintln(w, "N\tTARGET\tSTATE\tAGE\tSENT\tRECEIVED\tLINKS")
		for _, c := range all {
			fmt.Fprintf(w, "%d\t%v\t%s\t%v\t%s\t%s\t", c.Number, c.Target, c.State, time.Since(c.Opened).Round(time.Second),
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

func writeConnection(out io.Writer, c control.Connection) error {
	err := writeConnections(out, []control.Connection{c})
	if err != nil {
		return err
	}
	err = table(out, func(w io.Writer) {
		fmt.Fprintln(w, "\nLINK\tSTATE\tRTT\tSENT\tRECEIVED")
		for _, f := range c.Subflows {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", f.Link, f.State, roundTrip(f.RTT), scaled(float64(f.Sent), "B"), scaled(float64(f.Received), "B"))
		}
	})
	if err == nil {
		_, err = fmt.Fprintf(out, "\n%s", c.Trace)
	}
	return err
}
