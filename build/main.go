// Command build takes tandem from source to checked, tested and measured: go run ./build.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"tandem/build/lab"
)

// A verb is something that the command does.
type verb struct {
	name, arguments, about string
	run                    func(ctx context.Context, args []string) int // exit code: 0 done, 1 failed, 2 misused
}

func verbs() []verb {
	return []verb{
		{"test", "", "everything below, installing what a Debian machine lacks", test},
		{"check", "", "format, modules, vet for each system, staticcheck, the architecture", check},
		{"fuzz", "[-time 60s]", "every fuzz target for that long", fuzz},
		{"sim", "bench", "goodput of the whole protocol over simulated links", simulate},
		{"lab", "SUITE...", "other implementations, over emulated links between namespaces", laboratory},
		{"bench", "[--json]", "every benchmark", bench},
	}
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The second interrupt ends the process at once.
	context.AfterFunc(ctx, stop)
	if len(args) > 0 {
		for _, v := range verbs() {
			if v.name == args[0] {
				return v.run(ctx, args[1:])
			}
		}
		if args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
			usage(os.Stdout)
			return 0
		}
	}
	return misused()
}

func misused() int {
	usage(os.Stderr)
	return 2
}

func usage(out io.Writer) {
	fmt.Fprintln(out, "usage: go run ./build VERB")
	for _, v := range verbs() {
		fmt.Fprintf(out, "  %-22s %s\n", strings.TrimSpace(v.name+" "+v.arguments), v.about)
	}
}

func laboratory(ctx context.Context, args []string) int { return lab.Main(ctx, args, os.Stdout) }

func simulate(ctx context.Context, args []string) int {
	if len(args) != 1 || args[0] != "bench" {
		return misused()
	}
	return code(sh(ctx, "go", "test", "./engine/sim", "-count=1", "-v", "-run", "Goodput|BadPath|ManyConnections"))
}

// code is the exit code for what came of a verb.
func code(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "build:", err)
	return 1
}

// command prepares a program to run in the module's root, and to be interrupted with ctx.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = root()
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	return cmd
}

// sh runs a program with this process's output.
func sh(ctx context.Context, name string, args ...string) error {
	return shWith(ctx, nil, name, args...)
}

func shWith(ctx context.Context, env []string, name string, args ...string) error {
	cmd := command(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

// root is the folder of go.mod, at or above the working directory.
func root() string {
	dir, err := os.Getwd()
	for err == nil && dir != filepath.Dir(dir) {
		if _, e := os.Stat(filepath.Join(dir, "go.mod")); e == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	return "."
}
