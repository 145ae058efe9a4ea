// Package lab joins hosts over emulated links and tries them: the engine and the kernel's
// Multipath TCP with each other, in network namespaces on the machine it runs on. The links are
// engine/sim's, driven in real time between TUN devices.
//
// Every row of every suite is an attempt (suite.go). There are three places for them:
//
//	an interop   two ends over two links, of which the far one is the kernel: kernel.go lists them
//	a rig        links with the engine here and the kernel or the engine there (rig.go); seeds.go lists the files of those
//	             rows, one for each item of the working group
//	a household  laptop, hub and web host around a router, with the programs as people run them (household.go), in a stage
//	             (stage.go): programs.go and commands.go with a hub, native.go, proxies.go and implicit.go without one
package lab

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// A suite is a set of attempts that the lab can be asked for.
type suite struct {
	name, about string
	run         func(ctx context.Context, t *table, only string) error
}

func suites() []suite {
	return []suite{
		{"kernel", "the engine with the kernel's Multipath TCP, in both roles", runKernel},
		{"bulk", "1 GiB each way over 300 and 200 Mbit/s, in both roles", runBulk},
		{"e2e", "hub and client with real programs, over 50 and 30 Mbit/s", runE2E},
		{"native", "proxies of other makes over native links, over 50 and 30 Mbit/s", runNative},
		{"seeds", "what the Multipath TCP working group asked for, item by item", runSeeds},
		{"self", "the kernel with itself: is the lab right?", runSelf},
	}
}

// Main runs the suites named in args, of each only the rows whose name contains what follows a
// colon ("kernel:backup"). It returns the process's exit code.
func Main(ctx context.Context, args []string, out io.Writer) int {
	if len(args) == 2 && args[0] == "peer" {
		return exit(runErrand(ctx, args[1], out))
	}
	if len(args) == 2 && args[0] == "task" {
		return exit(runTask(ctx, args[1], out))
	}
	if len(args) > 0 && slices.Contains([]string{"up", "down", "shell"}, args[0]) {
		return stand(ctx, args, out)
	}
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	flags.Usage = func() { usage(flags.Output()) }
	keep := flags.Bool("keep", false, "")
	if flags.Parse(args) != nil {
		return 2
	}
	if flags.NArg() == 0 || slices.ContainsFunc(flags.Args(), func(arg string) bool { return find(arg) == nil }) {
		usage(os.Stderr)
		return 2
	}
	t := &table{out: out, keep: *keep, start: time.Now()}
	if why := Missing(); why != "" {
		t.add(row{name: "lab", verdict: skip, why: why})
		return 0
	}
	if err := removeStale(); err != nil {
		return exit(err)
	}
	for _, arg := range flags.Args() {
		_, only, _ := strings.Cut(arg, ":")
		if err := find(arg).run(ctx, t, only); err != nil {
			return exit(err)
		}
	}
	return t.close()
}

// stand is what people do with links that stay.
func stand(ctx context.Context, args []string, out io.Writer) int {
	if why := Missing(); why != "" {
		return exit(errors.New(why))
	}
	switch {
	case len(args) == 2 && args[0] == "shell":
		return exit(shell(ctx, args[1]))
	case len(args) != 1 || args[0] == "shell":
		usage(os.Stderr)
		return 2
	}
	if err := removeStale(); err != nil || args[0] == "down" {
		return exit(err)
	}
	return exit(up(ctx, out))
}

// find returns the suite that an argument names, or nil.
func find(arg string) *suite {
	name, _, _ := strings.Cut(arg, ":")
	for _, s := range suites() {
		if s.name == name {
			return &s
		}
	}
	return nil
}

func usage(out io.Writer) {
	fmt.Fprintln(out, "usage: go run ./build lab [-keep] SUITE[:PART OF A ROW'S NAME]... | up | shell NAMESPACE | down")
	for _, s := range suites() {
		fmt.Fprintf(out, "  %-8s %s\n", s.name, s.about)
	}
	fmt.Fprintln(out, "  -keep    leaves logs, captures and traces also of rows that pass")
	fmt.Fprintln(out, "  up       laptop, hub, router and web host in namespaces, until interrupted; shell enters one")
	fmt.Fprintln(out, "  down     removes what a lab that was killed left")
}

func exit(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "lab:", err)
	return 1
}

// Missing says what the lab lacks on this machine, or nothing.
func Missing() string {
	if os.Geteuid() != 0 {
		return "needs root for network namespaces and TUN devices"
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return "needs /dev/net/tun"
	}
	if _, err := os.Stat("/proc/sys/net/mptcp/enabled"); err != nil {
		return "needs a kernel with Multipath TCP"
	}
	return lacks([]string{"curl", "dig", "dumpcap", "ip", "iperf3", "nft", "nstat", "ping", "setpriv", "sysctl", "traceroute", "tshark"})
}
