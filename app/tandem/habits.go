package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"tandem/app/command"
	"tandem/app/config"
	"tandem/app/control"
)

// Habits are how connections are begun and kept, and what chooses links for them, as they were typed.
type habits struct {
	scheduler, costV, costRate             string
	establish, address, inactivity, bounds string
	privacy, fastOpen, implicit, prototype string
}

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
	f.StringVar(&h.costV, "cost-v", "", fmt.Sprintf("with the scheduler cost, let so many `OCTETS` wait rather than pay a thousandth more for a gigabyte%s",
		left(fmt.Sprint(config.CostVDefault))))
	f.StringVar(&h.costRate, "cost-rate", "", "with the scheduler cost, use dear links while the cheap ones bring less than this `RATE`, such as 1M, or none"+left("none"))
	f.StringVar(&h.establish, "establish", "", "begin connections in this `MODE`: "+config.Establishes+left("auto")+";\n"+
		"auto asks over the best link while it is heard, else over several at once, of which the first to answer wins; classic over one,\n"+
		"timer over one more whenever none answers in time, sim and esim over several, of which esim keeps all, ips over the quickest of late")
	f.StringVar(&h.address, "address", "", "begin connections, where there is a choice, over links whose addresses are of this `TYPE`: "+config.Addresses+left("unknown")+";\n"+
		"see tandem link --address")
	f.StringVar(&h.inactivity, "inactivity", "", "end connections that are idle for this `TIME`, such as 2h, or none"+left("none")+";\n"+
		"the other end is told, and with 2h,request asked to be as patient")
	f.StringVar(&h.bounds, "inactivity-bounds", "", "grant the other end, where it asks for a time, no less and no more than these two `TIMES`"+left("1m40s,24h")+";\n"+
		"no connection is idle for longer than the second; with fixed, what the other end asks for changes nothing")
	f.StringVar(&h.privacy, "privacy", "", "show proxies of other makes as much of this device as this `PROFILE` does: standard or strict"+left("standard")+";\n"+
		"strict uses one link until a connection has moved 64 kB, and other ports on each")
	f.StringVar(&h.fastOpen, "fast-open", "", "`on` or off: what proxies of other makes are asked rides in the SYN, where they allow it (RFC 7413)"+left("on")+";\n"+
		"off with strict privacy, because their cookies know who comes again")
	f.StringVar(&h.implicit, "implicit-esim", "", "`on` or off: with --establish esim, proxies of other makes are not asked whether they can"+left("off")+";\n"+
		"those that cannot may take a connection for two")
	f.StringVar(&h.prototype, "prototype", "", "take the option of the drafts' prototypes as this `NAME`: "+config.Prototypes+left("none"))
}

// read says what is mistyped.
func (h *habits) read() (change control.Change, err error) {
	text(&change.Scheduler, h.scheduler)
	text(&change.Establish, h.establish)
	text(&change.Address, h.address)
	text(&change.Privacy, h.privacy)
	text(&change.Prototype, h.prototype)
	if h.costV != "" {
		v, wrong := strconv.Atoi(h.costV)
		if change.CostV = new(config.CostV(v)); wrong != nil {
			err = fmt.Errorf("--cost-v: %q is not a number", h.costV)
		}
	}
	if h.costRate != "" {
		r, wrong := config.ParseRate(h.costRate)
		change.CostRate, err = &r, errors.Join(err, about("cost-rate", wrong))
	}
	if h.inactivity != "" {
		long, wrong := config.ParseInactivity(h.inactivity)
		change.Inactivity, err = &long, errors.Join(err, about("inactivity", wrong))
	}
	if h.bounds != "" {
		b, wrong := config.ParseBounds(h.bounds)
		change.Bounds, err = &b, errors.Join(err, about("inactivity-bounds", wrong))
	}
	if h.fastOpen != "" {
		on, wrong := onOff(h.fastOpen)
		change.FastOpen, err = &on, errors.Join(err, about("fast-open", wrong))
	}
	if h.implicit != "" {
		on, wrong := onOff(h.implicit)
		change.ImplicitESIM, err = &on, errors.Join(err, about("implicit-esim", wrong))
	}
	s := change.Apply(config.Settings{})
	return change, errors.Join(err,
		about("scheduler", s.Scheduler.Validate()), about("cost-v", s.CostV.Validate()), about("establish", s.Establish.Validate()),
		about("address", s.Address.Validate()), about("privacy", s.Privacy.Validate()), about("prototype", s.Prototype.Validate()))
}

// text notes what was typed.
func text[T ~string](to **T, typed string) {
	if typed != "" {
		*to = new(T(typed))
	}
}

// onOff reads a switch.
func onOff(text string) (on bool, err error) {
	if text != "on" && text != "off" {
		return false, fmt.Errorf("%q is neither on nor off", text)
	}
	return text == "on", nil
}

const setHelp = `Say how connections are carried, now and after a restart, whatever tandem run was told.

Those that begin from now on begin as --establish and --address say, and all end as --inactivity says. The rest counts from
the next tandem up on, after tandem down, or from the next start. --cost-v and --cost-rate rule what this device sends; what
it downloads the hub sends, by its own (tandem-hub run --cost-v, --cost-rate).`

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
		c.Println(setSaid(c.Flags()))
		return nil
	}
	return c
}

// setSaid says what became of what was typed, and of what of it nothing is seen yet.
func setSaid(typed *pflag.FlagSet) string {
	later := slices.DeleteFunc([]string{"scheduler", "cost-v", "cost-rate", "inactivity-bounds", "privacy", "fast-open", "implicit-esim", "prototype"},
		func(name string) bool { return !typed.Changed(name) })
	if len(later) == 0 {
		return "That is set; tandem status says how connections are carried."
	}
	return "That is set; from the next tandem up on, after tandem down, as far as it is --" + strings.Join(later, ", --") + "."
}

// change is what was typed.
func (h *habits) change() (change control.Change, err error) {
	change, err = h.read()
	if err == nil && change == (control.Change{}) {
		err = errors.New("what is to change?")
	}
	return change, err
}
