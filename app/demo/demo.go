// Package demo shows what tandem does, on one machine and in one process: a hub, a client, two WireGuard carriers
// and the engine, over two emulated links. Everything but the links and what stands in for the Internet is what
// people run.
package demo

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// MeasureTime is the usual length of a measurement.
const MeasureTime = 6 * time.Second

// Options say how to run a demo. The zero Options show it to people, at its usual length.
type Options struct {
	JSON    bool          // the result as one line of JSON, and nothing else
	Measure time.Duration // length of each measurement; 0: MeasureTime
	Log     *slog.Logger  // of hub and client; nil: none

	links [2]link // zero: usualLinks
}

const (
	measureLeast = 3 * time.Second // of which the beginning is a small part
	measurements = 4
	spareTime    = 20 * time.Second // for joining, and for links to come and go
)

var errSlow = errors.New("the demo takes too long: this machine may be too busy to carry 80 Mbit/s")

// Run runs the demo and writes what it shows to out. It takes four measurements and a few seconds.
func Run(ctx context.Context, opt Options, out io.Writer) error {
	show := newDisplay(out, opt.JSON)
	r, err := run(ctx, opt, show)
	if err != nil {
		return err
	}
	return show.result(r)
}

func run(ctx context.Context, opt Options, show *display) (r result, err error) {
	if opt.Measure <= 0 {
		opt.Measure = MeasureTime
	}
	if opt.links == ([2]link{}) {
		opt.links = usualLinks
	}
	ctx, cancel := context.WithTimeoutCause(ctx, spareTime+measurements*opt.Measure, errSlow)
	defer cancel()
	state, err := os.MkdirTemp("", "tandem-demo-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(state)
	s, err := newStage(ctx, opt.links, filepath.Join(state, "hub"), filepath.Join(state, "laptop"), opt.Log)
	if err != nil {
		return r, orCause(ctx, err)
	}
	r, err = s.perform(ctx, opt.Measure, show)
	if err = errors.Join(err, s.close()); err != nil {
		return r, orCause(ctx, err)
	}
	r.short = opt.Measure < measureLeast
	return r, nil
}

// orCause says why ctx has ended, if it has: what failed is a consequence.
func orCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// perform takes all measurements.
func (s *stage) perform(ctx context.Context, length time.Duration, show *display) (r result, err error) {
	r.links = s.links
	show.begin(s.links)
	for i, l := range s.links {
		if err := s.use(ctx, i); err != nil {
			return r, err
		}
		if r.single[i], err = s.measure(ctx, length, l.name+" alone", show, nil); err != nil {
			return r, err
		}
	}
	if err := s.use(ctx, 0, 1); err != nil {
		return r, err
	}
	if r.bonded, err = s.measure(ctx, length, "both", show, nil); err != nil {
		return r, err
	}
	cut := func() { s.network.Change(0, silence) }
	if r.failover, err = s.measure(ctx, length, "both, then no "+s.links[0].name, show, cut); err != nil {
		return r, err
	}
	for i := range s.links {
		r.forwarded[i] = s.carried(i)
	}
	return r, nil
}
