package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"tandem/app/server"
)

const minutes = "2006-01-02 15:04"

// current leaves out of a listing what is over, and returns how much that is.
func current(l *server.Listing) (over int) {
	over = len(l.Devices) + len(l.Invites)
	l.Devices = slices.DeleteFunc(l.Devices, func(d server.DeviceInfo) bool { return d.Revoked != nil })
	l.Invites = slices.DeleteFunc(l.Invites, func(i server.InviteInfo) bool { return i.UsedBy != "" })
	return over - len(l.Devices) - len(l.Invites)
}

// printListing prints devices and open invites, and with all what is over too.
func printListing(out io.Writer, l server.Listing, all bool) error {
	over := 0
	if !all {
		over = current(&l)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tCONNECTIONS\tFROM IT\tTO IT\tLAST HEARD\tLINKS\tNOTES")
	for _, d := range l.Devices {
		printDevice(w, d)
	}
	for _, i := range l.Invites {
		printInvite(w, i)
	}
	if err := w.Flush(); err != nil || over == 0 {
		return err
	}
	_, err := fmt.Fprintf(out, "--all shows %d more: revoked devices, used invites.\n", over)
	return err
}

func printDevice(w io.Writer, d server.DeviceInfo) {
	state, heard := "offline", "never"
	if d.Online {
		state = "online"
	}
	if d.Revoked != nil {
		state = "revoked"
	}
	if d.Seen != nil {
		heard = d.Seen.Local().Format(minutes)
	}
	active := 0
	for _, k := range d.Links {
		if k.Active {
			active++
		}
	}
	var notes []string
	if d.AllowLAN {
		notes = append(notes, "local network")
	}
	if d.Foreign > 0 {
		notes = append(notes, "its code was tried by others "+times(d.Foreign))
	}
	fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%d\t%s\n",
		d.Name, state, d.Connections, octets(d.Received), octets(d.Sent), heard, active, strings.Join(notes, "; "))
}

func printInvite(w io.Writer, i server.InviteInfo) {
	who, state, note := i.ID, "invited until "+i.Expires.Local().Format(minutes), ""
	switch {
	case i.UsedBy != "":
		who, state = i.UsedBy, "invite used"
	case i.Stale:
		note = "its code leads to where the hub is no more: make a new one"
	}
	fmt.Fprintf(w, "%s\t%s\t\t\t\t\t\t%s\n", who, state, note)
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// octets prints an amount in at most six characters.
func octets(n uint64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, u := float64(n)/1000, 0
	for v >= 999.5 {
		v, u = v/1000, u+1
	}
	return fmt.Sprintf("%.3g %cB", v, units[u])
}
