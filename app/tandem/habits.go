package main

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tandem/app/command"
	"tandem/app/config"
	"tandem/app/control"
)

// Habits are how connections are begun and kept, and what chooses links for them, as they were typed.
type habits struct{ scheduler, establish, inactivity string }

// flags adds them; otherwise is what counts where nothing is typed, but for the default's name.
func (h *habits) flags(f *pflag.FlagSet, otherwise string) {
	left := func(name string) string {
		if otherwise == "" {
			return ""
		}
		return " (default: " + otherwise + name + ")"
	}
	f.StringVar(&h.scheduler, "scheduler", "", "choose links for packets by this `NAME`: "+config.Schedulers+left("earliest")+";\n"+
		"owl sends where one way is shortest, cost where it is cheapest, see tandem link --price")
	f.StringVar(&h.establish, "establish", "", "begin connections in this `MODE`: "+config.Establishes+left("auto")+";\n"+
		"auto asks over the best link while it is heard, else over several at once, of which the first to answer wins")
	f.StringVar(&h.inactivity, "inactivity", "", "end connections that are idle for this `TIME`, such as 2h, or none"+left("none")+";\n"+
		"the other end is told, and with 2h,request asked to be as patient")
}

// read says what is mistyped.
func (h *habits) read() (s config.Scheduler, e config.Establish, i *config.Inactivity, err error) {
	s, e = config.Scheduler(h.scheduler), config.Establish(h.establish)
	err = errors.Join(about("scheduler", s.Validate()), about("establish", e.Validate()))
	if h.inactivity != "" {
		long, wrong := config.ParseInactivity(h.inactivity)
		i, err = &long, errors.Join(err, about("inactivity", wrong))
	}
	return s, e, i, err
}

const setHelp = `Say how connections are carried, now and after a restart, whatever tandem run was told.

Those that begin from now on begin as --establish says, and all end as --inactivity says. What --scheduler says counts
from the next tandem up on, after tandem down, or from the next start.`

func setCommand(o *options) *cobra.Command {
	var h habits
	c := &cobra.Command{Use: "set", Short: "Say how connections are carried, now and after a restart", Long: setHelp, Args: command.NoArguments}
	c.Flags().SortFlags = false
	h.flags(c.Flags(), "")
	c.RunE = func(c *cobra.Command, _ []string) error {
		change, err := h.change()
		if err != nil {
			return command.Misuse(err)
		}
		if err := o.daemon().Set(c.Context(), change); err != nil {
			return err
		}
		c.Println("That is set; tandem status says how connections are carried.")
		return nil
	}
	return c
}

// change is what was typed.
func (h *habits) change() (change control.Change, err error) {
	s, e, i, err := h.read()
	change.Inactivity = i
	if s != "" {
		change.Scheduler = &s
	}
	if e != "" {
		change.Establish = &e
	}
	if err == nil && change == (control.Change{}) {
		err = errors.New("what is to change?")
	}
	return change, err
}
