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

	"tandem/app/server"
)

func inviteCommand(state *string) *cobra.Command {
	var o server.InviteOptions
	c := &cobra.Command{Use: "invite", Short: "Make a code with which one device joins", Args: noArguments}
	f := c.Flags()
	f.StringVar(&o.Name, "name", "", "call the device `NAME` (default: as it calls itself)")
	f.DurationVar(&o.Expires, "expires", time.Hour, "the code is good for `TIME`, such as 30m or 24h")
	f.BoolVar(&o.AllowLAN, "allow-lan", false, "let the device reach this machine's local network")
	f.BoolVar(&o.Replace, "replace", false, "revoke the device that is called NAME once the new one joins")
	asJSON := f.Bool("json", false, "print JSON")
	c.RunE = func(*cobra.Command, []string) error {
		switch {
		case o.Expires <= 0:
			return misuse{errors.New("--expires must be positive")}
		case o.Replace && o.Name == "":
			return misuse{errors.New("--replace wants --name")}
		}
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
			fmt.Fprintln(os.Stderr, l.Doubt)
		}
		if *asJSON {
			return json.NewEncoder(os.Stdout).Encode(map[string]any{
				"code": code.String(), "name": o.Name, "expires": code.Expires.UTC(), "endpoints": code.Endpoints,
				"hub_running": owner.Running(),
			})
		}
		if !owner.Running() {
			fmt.Fprintln(os.Stderr, "The hub does not run now: start it with tandem-hub run before the device joins.")
		}
		fmt.Printf("The device finds the hub at %s.\nBefore %s, type there: tandem join, and this code:\n\n",
			strings.Join(code.Endpoints, ", "), code.Expires.Local().Format("2006-01-02 15:04 MST"))
		if term.IsTerminal(int(os.Stdout.Fd())) {
			if err := drawQR(os.Stdout, strings.ToUpper(code.String())); err != nil {
				return err
			}
		}
		fmt.Println(code)
		return nil
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
	c := &cobra.Command{Use: "devices", Short: "List devices and open invites", Args: noArguments}
	all := c.Flags().Bool("all", false, "revoked devices and used invites too")
	asJSON := c.Flags().Bool("json", false, "print JSON, of all")
	c.RunE = func(*cobra.Command, []string) error {
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
			e := json.NewEncoder(os.Stdout)
			e.SetIndent("", "  ")
			return e.Encode(l)
		}
		return printListing(os.Stdout, l, *all)
	}
	return c
}

func revokeCommand(state *string) *cobra.Command {
	return &cobra.Command{
		Use: "revoke NAME", Short: "Accept a device no more from now on, or withdraw an invite",
		Long: "Accept the device called NAME no more from now on: its connections end at once, and it is told why.\n" +
			"If no device is called so, the open invites for NAME are withdrawn instead.",
		Args: arguments(1, "this command takes the name of one device"),
		RunE: func(_ *cobra.Command, args []string) error {
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
			if slices.ContainsFunc(before.Devices, isIt) {
				fmt.Printf("%s is revoked.\n", args[0])
			} else {
				fmt.Printf("The invite for %s is withdrawn.\n", args[0])
			}
			return nil
		},
	}
}

func checkCommand(state *string) *cobra.Command {
	var cfg server.Config
	c := &cobra.Command{Use: "check", Short: "Say what a hub here would lack; change nothing", Args: noArguments}
	parse := options(c, &cfg)
	c.RunE = func(*cobra.Command, []string) error {
		if err := parse(); err != nil {
			return err
		}
		cfg.State = *state
		w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
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
		return errSaid
	}
	return c
}
