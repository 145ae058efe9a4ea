package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// An attempt is a row of the table: what is tried at some place, and what must come of it.
type attempt[P any] struct {
	name, limit string
	run         func(ctx context.Context, at P) (figure string, err error)
}

type (
	// A trial is what happens to programs of a household, which goes on to the next.
	trial = attempt[*household]
	// A seed happens to hosts that are made for it alone. The place is a folder, for what is to be looked at after a failure.
	seed = attempt[string]
)

// A skipped is why an attempt cannot be made here.
type skipped string

func (s skipped) Error() string { return string(s) }

// try makes an attempt and adds its row. keep: what it has left in dir is to be looked at.
func try[P any](ctx context.Context, t *table, a attempt[P], at P, dir string, within time.Duration) (keep bool, err error) {
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	r := row{name: a.name, limit: a.limit, verdict: pass}
	r.figure, err = a.run(limited, at)
	if ctx.Err() != nil {
		return false, errInterrupted
	}
	var none skipped
	switch {
	case errors.As(err, &none):
		r.verdict, r.why = skip, string(none)
	case err != nil:
		r.verdict, r.why = fail, strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	keep = r.verdict == fail || r.verdict == pass && t.keep
	if keep {
		r.why = strings.TrimSpace(r.why + " (see " + dir + ")")
	}
	t.add(r)
	return keep, nil
}

// trySeeds makes those attempts whose names contain only.
func trySeeds(ctx context.Context, t *table, only string, all []seed, within time.Duration) error {
	for _, s := range named(all, only) {
		dir, err := os.MkdirTemp("", "tandem-lab-")
		if err != nil {
			return err
		}
		keep, err := try(ctx, t, s, dir, dir, within)
		if !keep {
			os.RemoveAll(dir)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// named are the attempts whose names contain only.
func named[P any](all []attempt[P], only string) (some []attempt[P]) {
	for _, a := range all {
		if strings.Contains(a.name, only) {
			some = append(some, a)
		}
	}
	return some
}

// A wrong collects what is not as it should be.
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

// A verdict is how an attempt ended.
type verdict string

const (
	pass verdict = "PASS"
	fail verdict = "FAIL"
	skip verdict = "SKIP"
)

// A row is what came of an attempt.
type row struct {
	name, figure, limit string
	verdict             verdict
	why                 string
}

// A table prints rows as they come.
type table struct {
	out                     io.Writer
	keep                    bool // what attempts leave that succeed
	passed, failed, skipped int
	start                   time.Time
}

func (t *table) add(r row) {
	switch r.verdict {
	case pass:
		t.passed++
	case fail:
		t.failed++
	case skip:
		t.skipped++
	}
	line := fmt.Sprintf("%-55s %-32s %-32s %s", r.name, r.figure, r.limit, r.verdict)
	if r.why != "" {
		line += ": " + r.why
	}
	fmt.Fprintln(t.out, line)
}

// close prints the sum and returns the exit code.
func (t *table) close() int {
	fmt.Fprintf(t.out, "%d passed, %d failed, %d skipped in %.0f s\n", t.passed, t.failed, t.skipped, time.Since(t.start).Seconds())
	if t.failed > 0 {
		return 1
	}
	return 0
}

var errInterrupted = errors.New("interrupted")
