package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// A seed is something that the working group asked for, tried on real packets.
type seed struct {
	name, limit string
	run         func(ctx context.Context, dir string) (figure string, err error) // dir is for what is to be looked at after a failure
}

// seedTime is what one may take.
const seedTime = 40 * time.Second

// seeds are those for which hosts are made that nobody else uses. Their names begin with the item that asks for them.
func seeds() []seed {
	return slices.Concat(robusts(), lessons(), patience(), shares(), choices(), discretion(), earlies(), handovers(), operations(), latencies(), prices(), implicits(), attacks())
}

// runSeeds shows a row or more of each thing that the working group asked for.
func runSeeds(ctx context.Context, t *table, only string) error {
	for _, s := range seeds() {
		if !strings.Contains(s.name, only) {
			continue
		}
		r := s.try(ctx, t.keep)
		if ctx.Err() != nil {
			return errInterrupted
		}
		t.add(r)
	}
	return errors.Join(runSprouts(ctx, t, only), runProxies(ctx, t, only), runImplicit(ctx, t, passings(), only))
}

func (s seed) try(ctx context.Context, keep bool) row {
	r := row{name: s.name, limit: s.limit, verdict: pass}
	dir, err := os.MkdirTemp("", "tandem-seed-")
	if err == nil {
		limited, cancel := context.WithTimeout(ctx, seedTime)
		r.figure, err = s.run(limited, dir)
		cancel()
	}
	if err != nil {
		r.verdict, r.why = fail, strings.ReplaceAll(err.Error(), "\n", "; ")+" (see "+dir+")"
	} else if !keep {
		os.RemoveAll(dir)
	}
	return r
}

// onRig is a seed's run on a rig of its own.
func onRig(g func() rigging, run func(ctx context.Context, r *rig) (string, error)) func(context.Context, string) (string, error) {
	return func(ctx context.Context, dir string) (string, error) {
		r, err := raise(ctx, dir, g())
		defer r.close()
		if err != nil {
			return "", err
		}
		return run(ctx, r)
	}
}

// wrong collects what is not as it should be.
type wrong []string

func (w *wrong) unless(is bool, format string, args ...any) {
	if !is {
		*w = append(*w, fmt.Sprintf(format, args...))
	}
}

func (w wrong) err() error {
	if len(w) == 0 {
		return nil
	}
	return errors.New(strings.Join(w, "; "))
}

// counted waits until a counter of the kernel has reached n.
func (r *rig) counted(ctx context.Context, name string, n int64) (counters, error) {
	for {
		all, err := readCounters(ctx, r.host)
		if err != nil || all[name] >= n {
			return all, err
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return all, fmt.Errorf("%s is %d, not %d", name, all[name], n)
		}
	}
}

// until waits until f holds, and fails with what when ctx ends before.
func until(ctx context.Context, what string, f func() bool) error {
	for !f() {
		if sleep(ctx, 5*time.Millisecond) != nil {
			return errors.New("in vain: " + what)
		}
	}
	return nil
}
