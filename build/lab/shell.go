package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// up makes a household whose laptop has joined its hub, and keeps it until ctx ends.
func up(ctx context.Context, out io.Writer) error {
	h := &household{}
	defer h.close()
	if err := h.build(ctx); err != nil {
		return err
	}
	if err := h.ready(ctx); err != nil {
		return err
	}
	for _, l := range laptopLinks {
		c := l.conditions
		fmt.Fprintf(out, "%s: %d Mbit/s, %v each way, laptop %s2 and %s2\n", l.device, c.Rate/1e6, c.Delay, l.v4, l.v6)
	}
	fmt.Fprintf(out, "web host: %s and %s (HTTP, HTTP/3, iperf3, DNS); hub: %s\n", webHost, web6Hst, hubHost)
	fmt.Fprintf(out, "enter with lab shell laptop, net, hub, web, other; programs, state and logs are in %s; interrupt to remove\n", h.dir)
	<-ctx.Done()
	return nil
}

// shell runs a shell in a namespace that up keeps.
func shell(ctx context.Context, role string) error {
	names, err := spaceNames()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(names, func(name string) bool {
		pid, ok := spaceOwner(name)
		return ok && alive(pid) && strings.HasSuffix(name, "-"+role)
	})
	if i < 0 {
		return fmt.Errorf("nothing is up that has a %q: start lab up", role)
	}
	program := os.Getenv("SHELL")
	if program == "" {
		program = "sh"
	}
	s := &space{names[i]}
	cmd := s.command(ctx, program)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}
