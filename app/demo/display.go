package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/term"
)

// A result is what the demo has found.
type result struct {
	links            [2]link
	single           [2]measurement
	bonded, failover measurement
	forwarded        [2]int64
	short            bool // too short for connections to come to speed
}

// busy reports whether a link alone carried less than it can, which nothing but this machine keeps it from.
func (r result) busy() bool {
	for i, l := range r.links {
		if r.single[i].mbps() < 0.8*l.mbps() {
			return true
		}
	}
	return false
}

// sum is what the links can carry together, in Mbit/s.
func (r result) sum() float64 { return r.links[0].mbps() + r.links[1].mbps() }

// verified reports whether every figure agrees with what the links carried. Octets were compared when read.
func (r result) verified() bool {
	return r.single[0].agrees() && r.single[1].agrees() && r.bonded.agrees() && r.failover.agrees()
}

// A display shows a demo: bars while it runs, a table at its end, or JSON alone.
type display struct {
	out  io.Writer
	json bool
	live bool // out is a terminal: lines are written over
}

func newDisplay(out io.Writer, asJSON bool) *display {
	f, ok := out.(*os.File)
	return &display{out: out, json: asJSON, live: ok && term.IsTerminal(int(f.Fd()))}
}

func (d *display) say(format string, args ...any) {
	if !d.json {
		fmt.Fprintf(d.out, format, args...)
	}
}

func (d *display) begin(links [2]link) {
	d.say("A hub and a laptop in this process, joined by WireGuard over two emulated links:\n")
	for _, l := range links {
		d.say("  %-9s %2.0f Mbit/s, %d ms one way\n", l.name, l.mbps(), l.conditions.Delay.Milliseconds())
	}
	d.say("\n")
}

const (
	sampleTime = 100 * time.Millisecond // between bars on a terminal
	lineTime   = time.Second            // between lines elsewhere
	barWidth   = 20                     // characters at a link's full rate
)

// watch shows the rate of each link until the function that it returns is called.
func (d *display) watch(what string, s *stage, total *atomic.Int64) (stop func()) {
	if d.json {
		return func() {}
	}
	every := lineTime
	if d.live {
		every = sampleTime
	}
	quit := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		begun := time.Now()
		last, at := [2]int64{s.down(0), s.down(1)}, begun
		for {
			select {
			case <-quit:
				if d.live {
					d.say("\n")
				}
				return
			case <-tick.C:
			}
			now := time.Now()
			line := fmt.Sprintf("%-23s %4.1f s ", what, now.Sub(begun).Seconds())
			for i, l := range s.links {
				down := s.down(i)
				line += " " + bar(l.name, float64(down-last[i])*8e-6/now.Sub(at).Seconds(), l.mbps())
				last[i] = down
			}
			at = now
			line += fmt.Sprintf("  %6.1f MB", float64(total.Load())/1e6)
			if d.live {
				d.say("\r%s", line)
			} else {
				d.say("%s\n", line)
			}
		}
	})
	return func() {
		close(quit)
		done.Wait()
	}
}

// bar draws what a link carries, of what it can, in Mbit/s.
func bar(name string, rate, full float64) string {
	n := min(int(rate/full*barWidth+0.5), barWidth)
	return fmt.Sprintf("%s %s%s %4.1f", name, strings.Repeat("█", n), strings.Repeat("·", barWidth-n), rate)
}

// result shows what the demo has found.
func (d *display) result(r result) error {
	if d.json {
		return r.writeJSON(d.out)
	}
	sum := r.sum()
	d.say("\n%-30s %10s %10s\n", "", "Mbit/s", "of sum")
	row := func(name string, m measurement) {
		d.say("%-30s %10.1f %9.0f%%\n", name, m.mbps(), 100*m.mbps()/sum)
	}
	for i, l := range r.links {
		row(l.name+" alone", r.single[i])
	}
	row("both", r.bonded)
	row("both, then no "+r.links[0].name, r.failover)
	d.say("%-30s %7.0f ms\n", "longest pause at the cut", r.failover.stall.Seconds()*1000)
	for i, l := range r.links {
		d.say("%-30s %7.1f MB\n", l.name+" carried", float64(r.forwarded[i])/1e6)
	}
	if !r.verified() {
		return fmt.Errorf("what was read does not agree with what the links carried")
	}
	if r.short {
		d.say("\nThe measurements were short: figures are low.\n")
	} else if r.busy() {
		d.say("\nThis machine was too busy to carry what the links could: figures are low.\n")
	}
	d.say("\nEvery octet was compared with what was sent, every figure with what the links carried.\n")
	return nil
}

func (r result) writeJSON(out io.Writer) error {
	type figures struct {
		Name      string  `json:"name"`
		Rate      float64 `json:"rate_mbps"`
		Delay     float64 `json:"delay_ms"`
		Forwarded int64   `json:"forwarded_bytes"`
	}
	v := struct {
		Links    []figures          `json:"links"`
		Single   map[string]float64 `json:"single_mbps"`
		Bonded   float64            `json:"bonded_mbps"`
		OfSum    float64            `json:"of_sum"`
		Stall    float64            `json:"failover_stall_ms"`
		Verified bool               `json:"verified"`
	}{Single: map[string]float64{}, Bonded: r.bonded.mbps(), OfSum: r.bonded.mbps() / r.sum(),
		Stall: r.failover.stall.Seconds() * 1000, Verified: r.verified()}
	for i, l := range r.links {
		v.Links = append(v.Links, figures{l.name, l.mbps(), l.conditions.Delay.Seconds() * 1000, r.forwarded[i]})
		v.Single[l.name] = r.single[i].mbps()
	}
	return json.NewEncoder(out).Encode(v)
}
