package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"tandem/app/client"
	"tandem/app/command"
	"tandem/app/config"
	"tandem/app/control"
	"tandem/app/demo"
	"tandem/platform"
)

// secondsMax is how long a measurement of the demo may take.
const secondsMax = 3600

func demoCommand() *cobra.Command {
	var opt demo.Options
	c := &cobra.Command{Use: "demo", Short: "Show what tandem does, on this machine alone, without root", Args: command.NoArguments}
	c.Flags().BoolVar(&opt.JSON, "json", false, "the result as one line of JSON, and nothing else")
	seconds := c.Flags().Float64("seconds", demo.MeasureTime.Seconds(), "`SECONDS` that each of the four measurements takes")
	c.SetHelpFunc(func(c *cobra.Command, args []string) {
		c.Root().PersistentFlags().MarkHidden("state") // a demo has folders of its own
		c.Root().PersistentFlags().MarkHidden("socket")
		c.Root().HelpFunc()(c, args)
	})
	c.RunE = func(c *cobra.Command, _ []string) error {
		if !(*seconds > 0 && *seconds <= secondsMax) {
			return command.Misuse(fmt.Errorf("--seconds is more than 0, and %d at most", secondsMax))
		}
		opt.Measure = time.Duration(*seconds * float64(time.Second))
		return demo.Run(c.Context(), opt, c.OutOrStdout())
	}
	return c
}

func joinCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "join CODE", Short: "Join a hub with an invite code, which is good for one device", Args: command.Arguments(1, 1, codeWanted)}
	c.RunE = func(c *cobra.Command, args []string) error {
		next := ""
		joined, err := o.daemonOf().Join(c.Context(), args[0])
		if errors.Is(err, control.ErrNoDaemon) {
			joined, err = o.joinAlone(c, args[0])
			next = o.afterJoining(os.Geteuid())
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(c.OutOrStdout(), "This device is %s at the hub %s.\n%s", joined.Device, joined.Hub, next)
		return nil
	}
	return c
}

const codeWanted = "one code is wanted: tandem-hub invite prints one, on the hub"

// afterJoining says what to do next: who is not root has joined for itself alone.
func (o *options) afterJoining(user int) string {
	if user <= 0 { // Windows has no numbers
		return "Start it with tandem run.\n"
	}
	return fmt.Sprintf("Joined for this user's folder %s: tandem run --socks works without root; "+
		"for all programs join with sudo instead, with a new code.\n", o.state)
}

// daemonOf is a client of the daemon of this state, and of no other: it shall join, not somebody else's.
func (o *options) daemonOf() *control.Client { return control.NewClient(o.listenAt()) }

// joinAlone joins while no daemon runs.
func (o *options) joinAlone(c *cobra.Command, code string) (control.Joined, error) {
	host, err := platform.New(platform.Config{})
	if err != nil {
		return control.Joined{}, err
	}
	d, err := client.New(client.Config{State: o.folder(), Host: host})
	if err != nil {
		return control.Joined{}, err
	}
	return d.Join(c.Context(), code)
}

func leaveCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "leave", Short: "Leave the hub: forget it, and the keys for it", Args: command.NoArguments}
	c.RunE = func(c *cobra.Command, _ []string) error {
		err := o.daemonOf().Leave(c.Context())
		if errors.Is(err, control.ErrNoDaemon) {
			if _, err := o.folder().Membership(); errors.Is(err, config.ErrNotJoined) {
				return err
			}
			err = o.folder().Leave()
		}
		if err == nil {
			c.Println("This device belongs to no hub now.")
		}
		return err
	}
	return c
}
