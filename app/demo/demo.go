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
}

const (
	measureLeast = 3 * time.Second // of which the beginning is a small part
	measurements = 4
	spareTime    = 20 * time.Second // for joining, and for links to come and go
)

var errSlow = errors.New("the demo takes too long: this machine may be too busy to carry 80 Mbit/s")

// Run runs the demo and writes what it shows to out. It takes four measurements and a few seconds.
func Run(ctx context.Context, opt Options, out io.Writer) (err error) {
	if opt.Measure <= 0 {
		opt.Measure = MeasureTime
	}
	ctx, cancel := context.WithTimeoutCause(ctx, spareTime+measurements*opt.Measure, errSlow)
	defer cancel()
	state, err := os.MkdirTemp("", "tandem-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(state)
	show := newDisplay(out, opt.JSON)
	s, err := newStage(ctx, filepath.Join(state, "hub"), filepath.Join(state, "laptop"), opt.Log)
	if err != nil {
		return orCause(ctx, err)
	}
	r, err := s.perform(ctx, opt.Measure, show)
	if err = errors.Join(err, s.close()); err != nil {
		return orCause(ctx, err)
	}
	r.short = opt.Measure < measureLeast
	return show.result(r)
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
	show.begin()
	for i, l := range links {
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
	if r.failover, err = s.measure(ctx, length, "both, then no "+links[0].name, show, cut); err != nil {
		return r, err
	}
	for i := range links {
		r.forwarded[i] = s.carried(i)
	}
	return r, nil
}
