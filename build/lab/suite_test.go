package lab

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// attempts end well, badly, not at all, and without a match.
var attempts = []seed{
	{"one good", "1", func(context.Context, string) (string, error) { return "3", nil }},
	{"one bad", "2", func(context.Context, string) (string, error) { return "4", errors.New("first\nsecond") }},
	{"one impossible", "3", func(context.Context, string) (string, error) { return "", skipped("no such thing") }},
	{"another", "4", func(context.Context, string) (string, error) { panic("nobody asked for it") }},
}

// A row says why an attempt failed, and where what it left is: of others nothing is left.
func TestSeedsLeaveWhatFailed(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	for _, c := range []struct {
		keep bool
		left int
	}{{false, 1}, {true, 2}} {
		var out bytes.Buffer
		all := &table{out: &out, keep: c.keep}
		if err := trySeeds(t.Context(), all, "one", attempts, time.Minute); err != nil {
			t.Fatal(err)
		}
		if all.passed != 1 || all.failed != 1 || all.skipped != 1 {
			t.Errorf("%+v", all)
		}
		for _, want := range []string{" FAIL: first; second (see " + folder, " SKIP: no such thing\n", "4 "} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in\n%s", want, out.String())
			}
		}
		left, err := os.ReadDir(folder)
		if err != nil || len(left) != c.left {
			t.Errorf("keep %t: %v, %v", c.keep, left, err)
		}
		for _, entry := range left {
			os.RemoveAll(folder + "/" + entry.Name())
		}
	}
}

func TestInterruptedAttemptHasNoRow(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	var out bytes.Buffer
	err := trySeeds(ctx, &table{out: &out}, "", []seed{{"a", "b", func(ctx context.Context, _ string) (string, error) {
		cancel()
		return "", ctx.Err()
	}}}, time.Minute)
	if !errors.Is(err, errInterrupted) || out.Len() > 0 {
		t.Errorf("%v, %q", err, &out)
	}
}

// Without a household: a trial needs one only if its name was asked for and its programs are there.
func TestStagesThatAreNotPlayed(t *testing.T) {
	trials := []trial{{"row", "", func(context.Context, *household) (string, error) { panic("nobody asked for it") }}}
	var out bytes.Buffer
	all := &table{out: &out}
	err := runStages(t.Context(), all, "two, row", stage{name: "one", trials: trials},
		stage{name: "two", needs: []string{"sh", "no-such-program"}, trials: trials})
	if err != nil || all.skipped != 1 || !strings.Contains(out.String(), "two ") || !strings.Contains(out.String(), "SKIP: needs no-such-program\n") {
		t.Errorf("%v, %+v, %q", err, all, &out)
	}
}

func TestWrong(t *testing.T) {
	var w wrong
	w.unless(true, "never")
	if w.err() != nil {
		t.Error(w)
	}
	w.unless(false, "%d", 1)
	w.unless(false, "%d", 2)
	if err := w.err(); err == nil || err.Error() != "1; 2" {
		t.Error(err)
	}
}

func TestTableCountsFailures(t *testing.T) {
	var out bytes.Buffer
	table := &table{out: &out, start: time.Now()}
	table.add(row{name: "a", figure: "1", limit: "2", verdict: pass})
	table.add(row{name: "b", verdict: skip, why: "no b here"})
	if code := table.close(); code != 0 {
		t.Errorf("exit code %d without a failure", code)
	}
	table.add(row{name: "c", verdict: fail, why: "because"})
	if code := table.close(); code != 1 {
		t.Errorf("exit code %d after a failure", code)
	}
	for _, want := range []string{"SKIP: no b here\n", "FAIL: because\n", "1 passed, 1 failed, 1 skipped"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
