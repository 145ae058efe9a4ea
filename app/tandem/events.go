package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"tandem/app/control"
)

// follow says what happens to a connection, until it is over or the user interrupts.
func (l *lookup) follow(n int) errand {
	return func(ctx context.Context, daemon *control.Client, out io.Writer) error {
		watching, cancel := context.WithCancel(ctx)
		defer cancel()
		var wrong error
		err := daemon.Events(watching, n, func(e control.Event) {
			if l.json {
				wrong = writeJSON(out, e)
			} else {
				_, wrong = fmt.Fprintln(out, eventLine(e))
			}
			if wrong != nil {
				cancel()
			}
		})
		switch {
		case ctx.Err() != nil:
			return nil
		case wrong != nil || err != nil:
			return errors.Join(wrong, err)
		case !l.json:
			fmt.Fprintf(out, "Connection %d is over.\n", n)
		}
		return nil
	}
}

// eventLine says what happened to a subflow.
func eventLine(e control.Event) string {
	said := e.Kind
	switch {
	case e.Kind == "added":
		said = fmt.Sprintf("added, %v > %v", e.Local, e.Remote)
	case e.Kind == "priority":
		said = useOf(control.Subflow{Established: true, Backup: e.Backup, PeerBackup: e.PeerBackup})
	case e.Kind == "fallback":
		said = "the connection is one of TCP"
	case e.Reason != "":
		said += ": " + e.Reason
	}
	if e.Missed > 0 {
		said += fmt.Sprintf(" (%d events before it were lost)", e.Missed)
	}
	return fmt.Sprintf("%s subflow %d over %s: %s", e.Time.Format(time.TimeOnly), e.Subflow, e.Link, said)
}
