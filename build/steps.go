package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// A step is a part of a verb that passes or fails by itself.
type step struct {
	name string
	run  func(ctx context.Context) error
}

// An outcome is how a step ended.
type outcome struct {
	step
	err  error
	took time.Duration
}

func (o outcome) verdict() string {
	switch {
	case o.err == nil:
		return "PASS"
	case errors.Is(o.err, errSkipped):
		return "SKIP"
	}
	return "FAIL"
}

func (o outcome) String() string {
	s := fmt.Sprintf("%-28s %7.1f s  %s", o.name, o.took.Seconds(), o.verdict())
	if o.err != nil {
		s += ": " + o.err.Error()
	}
	return s
}

// runSteps runs all steps, also after one has failed, and returns the exit code.
func runSteps(ctx context.Context, steps []step) int { return summary(perform(ctx, steps)) }

func perform(ctx context.Context, steps []step) (outcomes []outcome) {
	for _, s := range steps {
		fmt.Printf("== %s\n", s.name)
		start := time.Now()
		err := ctx.Err()
		if err == nil {
			err = s.run(ctx)
		}
		o := outcome{s, err, time.Since(start)}
		outcomes = append(outcomes, o)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", s.name, err)
		}
	}
	return outcomes
}

// summary prints the outcomes and returns the exit code: 1 if any failed.
func summary(outcomes []outcome) int {
	failed, skips, took := 0, 0, time.Duration(0)
	fmt.Println("== summary")
	for _, o := range outcomes {
		fmt.Println(o)
		took += o.took
		switch o.verdict() {
		case "FAIL":
			failed++
		case "SKIP":
			skips++
		}
	}
	fmt.Printf("%d passed, %d failed, %d skipped in %.0f s\n", len(outcomes)-failed-skips, failed, skips, took.Seconds())
	if failed > 0 {
		return 1
	}
	return 0
}
