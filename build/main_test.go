package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestParseTargets(t *testing.T) {
	list := "FuzzA\nFuzzB\nok  \ttandem/engine/wire\t0.01s\nok  \ttandem/engine/clock\t0.01s\n?   \ttandem/app\t[no test files]\nFuzzC\nok  \ttandem/engine/tcp\t0.02s\n"
	want := []fuzzTarget{{"tandem/engine/wire", "FuzzA"}, {"tandem/engine/wire", "FuzzB"}, {"tandem/engine/tcp", "FuzzC"}}
	if got := parseTargets([]byte(list)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestExecutions(t *testing.T) {
	out := "fuzz: elapsed: 0s, execs: 0 (0/sec)\nfuzz: elapsed: 3s, execs: 325017 (108336/sec), new interesting: 11 (total: 202)\n"
	if got := executions(out); got != "325017 executions" {
		t.Error(got)
	}
	if got := executions("FAIL"); got != "no executions" {
		t.Error(got)
	}
}

func TestParseMeasures(t *testing.T) {
	out := "goos: linux\npkg: tandem/engine/wire\nBenchmarkParse-2   \t 1000\t 12.5 ns/op\t 0 B/op\t 0 allocs/op\nPASS\n"
	want := []measure{{"tandem/engine/wire", "Parse-2", map[string]float64{"ns/op": 12.5, "B/op": 0, "allocs/op": 0}}}
	if got := parseMeasures([]byte(out)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestClosingLines(t *testing.T) {
	var c closingLines
	for _, part := range []string{"=== RUN a\n--- FA", "IL: TestA (0.00s)\n    a_test.go:1: why\nFAIL\nFAIL\ttandem/a\t0.1s\nok  ", "\ttandem/b\t0.2s\n"} {
		fmt.Fprint(&c, part)
	}
	want := []string{"--- FAIL: TestA (0.00s)", "FAIL", "FAIL\ttandem/a\t0.1s", "ok  \ttandem/b\t0.2s"}
	if !slices.Equal(c.lines, want) {
		t.Errorf("got %q, want %q", c.lines, want)
	}
}

// A failure does not keep later steps from running, and a skip is none.
func TestSteps(t *testing.T) {
	var ran []string
	run := func(name string, err error) step {
		return step{name, func(context.Context) error {
			ran = append(ran, name)
			return err
		}}
	}
	passing, skipping, failing := run("a", nil), run("b", skipped("no b here")), run("c", errors.New("broken"))
	if code := runSteps(t.Context(), []step{passing, skipping}); code != 0 {
		t.Errorf("exit code %d without a failure", code)
	}
	outcomes := perform(t.Context(), []step{failing, passing})
	if code := summary(outcomes); code != 1 {
		t.Errorf("exit code %d after a failure", code)
	}
	if got := strings.Join(ran, ""); got != "abca" {
		t.Errorf("ran %s", got)
	}
	if s := outcomes[0].String(); !strings.HasPrefix(s, "c ") || !strings.HasSuffix(s, "FAIL: broken") {
		t.Errorf("%q", s)
	}
}

func TestMisuse(t *testing.T) {
	for _, args := range [][]string{{}, {"nothing"}, {"check", "x"}, {"test", "x"}, {"sim"}, {"fuzz", "-x"}, {"bench", "x"}, {"lab"}} {
		if code := run(args); code != 2 {
			t.Errorf("%q: exit code %d, want 2", args, code)
		}
	}
	if code := run([]string{"help"}); code != 0 {
		t.Errorf("help: exit code %d", code)
	}
}
