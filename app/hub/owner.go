package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"rsc.io/qr"

	"tandem/app/command"
	"tandem/app/server"
)

func inviteCommand(state *string) *cobra.Command {
	var o server.InviteOptions
	c := &cobra.Command{Use: "invite", Short: "Make a code with which one device joins", Args: command.NoArguments}
	f := c.Flags()
	f.StringVar(&o.Name, "name", "", "call the device `NAME` (default: as it calls itself)")
	f.DurationVar(&o.Expires, "expires", time.Hour, "the code is good for `TIME`, such as 30m or 24h")
	f.BoolVar(&o.AllowLAN, "allow-lan", false, "let the device reach this machine's local network")
	f.BoolVar(&o.Replace, "replace", false, "revoke the device that is called NAME once the new one joins")
	asJSON := f.Bool("json", false, "print JSON")
	c.RunE = func(c *cobra.Command, _ []string) error {
		switch {
		case o.Expires <= 0:
			return command.Misuse(errors.New("--expires must be positive"))
		case o.Replace && o.Name == "":
			return command.Misuse(errors.New("--replace wants --name"))
		}
		out := c.OutOrStdout()
		owner, err := server.Open(*state)
		if err != nil {
			return err
		}
		defer owner.Close()
		code, err := owner.Invite(o)
		if err != nil {
			return err
		}
		if l, err := owner.Devices(); err == nil && l.Doubt != "" {
			c.PrintErrln(l.Doubt)
		}
		if *asJSON {
			return json.NewEncoder(out).Encode(map[string]any{
				"code": code.String(), "name": o.Name, "expires": code.Expires.UTC(), "endpoints": code.Endpoints,
				"hub_running": owner.Running(),
			})
		}
		if !owner.Running() {
			c.PrintErrln("The hub does not run now: start it with tandem-hub run before the device joins.")
		}
		fmt.Fprintf(out, "The device finds the hub at %s.\nBefore %s, type there: tandem join, and this code:\n\n",
			strings.Join(code.Endpoints, ", "), code.Expires.Local().Format("2006-01-02 15:04 MST"))
		if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			if err := drawQR(out, strings.ToUpper(code.String())); err != nil {
				return err
			}
		}
		_, err = fmt.Fprintln(out, code)
		return err
	}
	return c
}

// drawQR draws a QR code with two modules in each character. It is read dark on light, so light is drawn,
// margin included: terminals are dark.
func drawQR(w io.Writer, text string) error {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return err
	}
	const margin = 2
	light := func(x, y int) bool { return !code.Black(x, y) }
	var b strings.Builder
	for y := -margin; y < code.Size+margin; y += 2 {
		for x := -margin; x < code.Size+margin; x++ {
			switch upper, lower := light(x, y), light(x, y+1); {
			case upper && lower:
				b.WriteRune('█')
			case upper:
				b.WriteRune('▀')
			case lower:
				b.WriteRune('▄')
			default:
				b.WriteRune(' ')
			}
		}
		b.WriteRune('\n')
	}
	_, err = io.WriteString(w, b.String()+"\n")
	return err
}

func devicesCommand(state *string) *cobra.Command {
	c := &cobra.Command{Use: "devices", Short: "List devices and open invites", Args: command.NoArguments}
	all := c.Flags().Bool("all", false, "revoked devices and used invites too")
	asJSON := c.Flags().Bool("json", false, "print JSON, of all")
	c.RunE = func(c *cobra.Command, _ []string) error {
		owner, err := server.Open(*state)
		if err != nil {
			return err
		}
		defer owner.Close()
		l, err := owner.Devices()
		if err != nil {
			return err
		}
		if *asJSON {
			e := json.NewEncoder(c.OutOrStdout())
			e.SetIndent("", "  ")
			return e.Encode(l)
		}
		return printListing(c.OutOrStdout(), l, *all)
	}
	return c
}

func revokeCommand(state *string) *cobra.Command {
	return &cobra.Command{
		Use: "revoke NAME|invite:N", Short: "Accept a device no more from now on, or withdraw an invite",
		Long: "Accept the device called NAME no more from now on: its connections end at once, and it is told why.\n" +
			"If no device is called so, the open invites for NAME are withdrawn instead. One that is for no name goes by\n" +
			"invite:N, as tandem-hub devices lists it.",
		Args: command.Arguments(1, 1, "this command takes the name of one device or invite"),
		RunE: func(c *cobra.Command, args []string) error {
			out := c.OutOrStdout()
			owner, err := server.Open(*state)
			if err != nil {
				return err
			}
			defer owner.Close()
			before, err := owner.Devices()
			if err != nil {
				return err
			}
			if err := owner.Revoke(args[0]); err != nil {
				return err
			}
			isIt := func(d server.DeviceInfo) bool { return d.Name == args[0] && d.Revoked == nil }
			unnamed := func(i server.InviteInfo) bool { return i.ID == args[0] && i.Name == "" }
			switch {
			case slices.ContainsFunc(before.Devices, isIt):
				fmt.Fprintf(out, "%s is revoked.\n", args[0])
			case slices.ContainsFunc(before.Invites, unnamed):
				fmt.Fprintf(out, "%s is withdrawn.\n", args[0])
			default:
				fmt.Fprintf(out, "The invite for %s is withdrawn.\n", args[0])
			}
			return nil
		},
	}
}

func checkCommand(state *string) *cobra.Command {
	var cfg server.Config
	c := &cobra.Command{Use: "check", Short: "Say what a hub here would lack; change nothing", Args: command.NoArguments}
	parse := options(c, &cfg)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := parse(); err != nil {
			return err
		}
		cfg.State = *state
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
		lacking := false
		for _, f := range server.Check(cfg) {
			verdict := "ok"
			switch {
			case !f.OK && f.Essential:
				verdict, lacking = "MISSING", true
			case !f.OK:
				verdict = "lacking"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", f.What, verdict, f.Text)
		}
		if err := w.Flush(); err != nil || !lacking {
			return err
		}
		return command.ErrSaid
	}
	return c
}
