package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// staticcheck is run from the module proxy, so that it is no dependency of the module.
const staticcheck = "honnef.co/go/tools/cmd/staticcheck@v0.8.2"

// targets are the systems that everything is vetted for; engineTargets those of the engine alone, which
// can do without what takes long to compile. Android/amd64 is none: it does not link without cgo.
var (
	targets       = []string{"linux/amd64", "linux/arm64", "darwin/arm64", "windows/amd64"}
	engineTargets = []string{"darwin/amd64", "windows/arm64", "android/arm64"}
)

func check(ctx context.Context, args []string) int {
	if len(args) > 0 {
		return misused()
	}
	return runSteps(ctx, checks())
}

func checks() []step {
	steps := []step{
		{"format", formatted},
		{"modules", func(ctx context.Context) error { return sh(ctx, "go", "mod", "tidy", "-diff") }},
	}
	for _, target := range targets {
		steps = append(steps, step{"vet " + target, vet(target, "./...")})
	}
	for _, target := range engineTargets {
		steps = append(steps, step{"vet engine " + target, vet(target, "./engine/...")})
	}
	return append(steps,
		step{"staticcheck", func(ctx context.Context) error { return sh(ctx, "go", "run", staticcheck, "./...") }},
		step{"shape", func(ctx context.Context) error { return sh(ctx, "go", "test", "-run", "^TestShape", "./build") }},
	)
}

func formatted(ctx context.Context) error {
	cmd := command(ctx, "gofmt", "-l", ".")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	if names := bytes.Fields(out); len(names) > 0 {
		return fmt.Errorf("not as gofmt has it: %s", bytes.Join(names, []byte(" ")))
	}
	return nil
}

func vet(target, packages string) func(context.Context) error {
	system, machine, _ := strings.Cut(target, "/")
	return func(ctx context.Context) error {
		env := []string{"CGO_ENABLED=0", "GOOS=" + system, "GOARCH=" + machine}
		return shWith(ctx, env, "go", "vet", packages)
	}
}

var errSkipped = errors.New("skipped")

// skipped is the error of a step that could not run here, and is no failure.
func skipped(why string) error { return fmt.Errorf("%w: %s", errSkipped, why) }
