package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"tandem/build/lab"
)

// fuzzBrief is how long test runs each fuzz target.
const fuzzBrief = 3 * time.Second

func test(ctx context.Context, args []string) int {
	if len(args) > 0 {
		return misused()
	}
	var closing closingLines
	steps := []step{{"install", install}}
	steps = append(steps, checks()...)
	steps = append(steps,
		step{"go test", goTest(&closing, "go test ./...", "./...")},
		step{"go test -race", raceTest(&closing)},
		step{"fuzz", func(ctx context.Context) error { return fuzzAll(ctx, fuzzBrief) }},
		step{"lab kernel", labTest("kernel")},
		step{"lab e2e", labTest("e2e")},
	)
	outcomes := perform(ctx, steps)
	for _, line := range closing.lines {
		fmt.Println(line)
	}
	return summary(outcomes)
}

// debianPackages are the Debian packages that bring what the tests run.
var debianPackages = []struct{ command, name string }{
	{"gcc", "gcc"}, {"ip", "iproute2"}, {"nft", "nftables"}, {"sysctl", "procps"}, {"tshark", "tshark"},
	{"curl", "curl"}, {"dig", "bind9-dnsutils"}, {"iperf3", "iperf3"}, {"ping", "iputils-ping"}, {"setpriv", "util-linux"}, {"traceroute", "traceroute"},
	{"dumpcap", "wireshark-common"}, {"microsocks", "microsocks"}, {"mptcpize", "mptcpize"},
}

// install brings what is missing, where that is possible.
func install(ctx context.Context) error {
	var names []string
	for _, p := range debianPackages {
		if _, err := exec.LookPath(p.command); err != nil {
			names = append(names, p.name)
		}
	}
	if slices.Contains(names, "gcc") {
		names = append(names, "libc6-dev")
	}
	if len(names) == 0 {
		return nil
	}
	if runtime.GOOS != "linux" {
		return skipped("only a Debian machine is set up; missing: " + strings.Join(names, " "))
	}
	if os.Geteuid() != 0 {
		return skipped("not root; missing: " + strings.Join(names, " "))
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return skipped("no apt-get; missing: " + strings.Join(names, " "))
	}
	env := []string{"DEBIAN_FRONTEND=noninteractive"}
	if err := shWith(ctx, env, "apt-get", "-qq", "update"); err != nil {
		return err
	}
	return shWith(ctx, env, "apt-get", append([]string{"-qq", "-y", "--no-install-recommends", "install"}, names...)...)
}

// closingLines keeps the lines with which go test closes each package, and each test that failed.
type closingLines struct {
	lines   []string
	partial []byte
}

func (c *closingLines) Write(p []byte) (int, error) {
	c.partial = append(c.partial, p...)
	for {
		i := bytes.IndexByte(c.partial, '\n')
		if i < 0 {
			return len(p), nil
		}
		line := string(c.partial[:i])
		c.partial = c.partial[i+1:]
		for _, start := range []string{"ok  \t", "FAIL", "--- FAIL", "panic: "} {
			if strings.HasPrefix(line, start) {
				c.lines = append(c.lines, line)
				break
			}
		}
	}
}

// goTest runs go test, shows what it says as it comes, and keeps its closing lines under a title.
func goTest(closing *closingLines, title string, args ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		closing.lines = append(closing.lines, "== "+title)
		cmd := command(ctx, "go", append([]string{"test"}, args...)...)
		out := io.MultiWriter(os.Stdout, closing)
		cmd.Stdout, cmd.Stderr = out, out
		return cmd.Run()
	}
}

func raceTest(closing *closingLines) func(context.Context) error {
	return func(ctx context.Context) error {
		if _, err := exec.LookPath("gcc"); err != nil {
			return skipped("the race detector needs a C compiler")
		}
		return goTest(closing, "go test -race ./...", "-race", "./...")(ctx)
	}
}

// labTest runs the cases of a suite where they can run.
func labTest(suite string) func(context.Context) error {
	return func(ctx context.Context) error {
		if why := lab.Missing(); why != "" {
			return skipped(why)
		}
		if lab.Main(ctx, []string{suite}, os.Stdout) != 0 {
			return fmt.Errorf("cases failed")
		}
		return nil
	}
}
