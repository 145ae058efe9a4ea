package main

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tandem/app/apptest"
	"tandem/app/control"
)

// TestReadme: README.md tells people to type what can be typed.
func TestReadme(t *testing.T) {
	apptest.CheckReadme(t, commands, func(c *cobra.Command) (err error) {
		switch words := c.Flags().Args(); c.Name() {
		case "link":
			_, err = linkChange(c, words[1:])
		case "connections":
			_, _, err = new(lookup).read(words)
		case "set":
			var h habits
			f := pflag.NewFlagSet("set", pflag.ContinueOnError)
			h.flags(f, "")
			c.Flags().Visit(func(typed *pflag.Flag) {
				if f.Lookup(typed.Name) != nil {
					err = errors.Join(err, f.Set(typed.Name, typed.Value.String()))
				}
			})
			_, wrong := h.change()
			err = errors.Join(err, wrong)
		}
		return err
	})
}

// An agreeable daemon does whatever it is told, and notes of whom it was asked.
type agreeable struct {
	pretender
	told []string
}

func (a *agreeable) tell(what string) error {
	a.told = append(a.told, what)
	return nil
}

func (a *agreeable) State() control.State {
	return control.State{Phase: control.Connected, Scheduler: "earliest", Links: []control.Link{{Name: "wlan0"}}}
}
func (a *agreeable) Up(context.Context) error                      { return a.tell("up") }
func (a *agreeable) Down(context.Context) error                    { return a.tell("down") }
func (a *agreeable) Leave(context.Context) error                   { return a.tell("leave") }
func (a *agreeable) Set(context.Context, control.Change) error     { return a.tell("set") }
func (a *agreeable) Flows(context.Context) ([]control.Flow, error) { return nil, a.tell("flows") }
func (a *agreeable) CloseConnection(context.Context, int) error    { return a.tell("connections") }
func (a *agreeable) SetLink(context.Context, string, control.LinkChange) error {
	return a.tell("link")
}
func (a *agreeable) Connections(context.Context) ([]control.Connection, error) {
	return nil, a.tell("connections")
}
func (a *agreeable) Connection(context.Context, int) (control.Connection, error) {
	return control.Connection{}, a.tell("connections")
}
func (a *agreeable) OpenSubflow(context.Context, int, control.SubflowOpen) (int, error) {
	return 1, a.tell("connections")
}
func (a *agreeable) UseLink(context.Context, int, string, bool) error { return a.tell("connections") }
func (a *agreeable) Events(context.Context, int, func(control.Event) error) error {
	return a.tell("connections")
}
func (a *agreeable) ChangeSubflow(context.Context, int, int, control.SubflowChange) error {
	return a.tell("connections")
}

// TestReadmeRuns types at a daemon all that README.md has people type at one; the rest, which starts or looks for
// something, is for the trials of the lab.
func TestReadmeRuns(t *testing.T) {
	m, d := newTerminal(t), new(agreeable)
	standIn(t, m, d)
	for _, words := range apptest.Readme(t, "tandem") {
		switch verb := words[1]; verb {
		case "demo", "join", "run", "check":
		case "status", "links": // which ask for the state
			if said := m.types(0, "", words[1:]...); said == "" {
				t.Errorf("%q says nothing", words)
			}
		default:
			d.told = nil
			if m.types(0, "", words[1:]...); !slices.Equal(d.told, []string{verb}) {
				t.Errorf("%q: told %q", words, d.told)
			}
		}
	}
}
