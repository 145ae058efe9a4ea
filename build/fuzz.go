package main

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"
)

func fuzz(ctx context.Context, args []string) int {
	flags := flag.NewFlagSet("fuzz", flag.ContinueOnError)
	each := flags.Duration("time", time.Minute, "how long each target runs")
	if flags.Parse(args) != nil || flags.NArg() > 0 {
		return 2
	}
	return code(fuzzAll(ctx, *each))
}

// A fuzzTarget is a fuzz function of a package.
type fuzzTarget struct{ pkg, name string }

// fuzzAll runs every target for that long and prints a row each.
func fuzzAll(ctx context.Context, each time.Duration) error {
	cmd := command(ctx, "go", "test", "-list", "^Fuzz", "./...")
	cmd.Stderr = os.Stderr
	list, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("go test -list: %w", err)
	}
	failed := 0
	for _, t := range parseTargets(list) {
		var out bytes.Buffer
		cmd := command(ctx, "go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", each.String(), t.pkg)
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && overran(out.String()) {
			err = nil
		}
		verdict := "PASS"
		if err != nil {
			failed++
			verdict = "FAIL"
		}
		fmt.Printf("%-48s %-28s ≥ %-8s %s\n", strings.TrimPrefix(t.pkg, "tandem/")+" "+t.name, executions(out.String()), each, verdict)
		if err != nil {
			os.Stdout.Write(out.Bytes())
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d targets failed", failed)
	}
	return nil
}

// overran reports whether a run that failed found nothing: the go command now and then takes the end of
// the time it was given for a failure of the target. A target that fails leaves its input.
func overran(out string) bool {
	return strings.Contains(out, "context deadline exceeded") && !strings.Contains(out, "Failing input written to")
}

// parseTargets reads what go test -list prints: names, then the package that they belong to.
func parseTargets(list []byte) (targets []fuzzTarget) {
	var names []string
	for lines := bufio.NewScanner(bytes.NewReader(list)); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "Fuzz") {
			names = append(names, line)
			continue
		}
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "ok" {
			for _, name := range names {
				targets = append(targets, fuzzTarget{fields[1], name})
			}
			names = nil
		}
	}
	return targets
}

var execsPattern = regexp.MustCompile(`execs: (\d+)`)

// executions is the last count that the fuzzer printed.
func executions(out string) string {
	all := execsPattern.FindAllStringSubmatch(out, -1)
	if len(all) == 0 {
		return "no executions"
	}
	return all[len(all)-1][1] + " executions"
}
