package control

import (
	"errors"

	"tandem/app/config"
)

// Change says what to change of how connections are carried; nil: as it is. The zero Change changes nothing.
type Change struct {
	Scheduler  *config.Scheduler  `json:"scheduler,omitempty"`  // from the next up, or start, on
	CostV      *config.CostV      `json:"cost_v,omitempty"`     // too
	CostRate   *config.Rate       `json:"cost_rate,omitempty"`  // too
	Establish  *config.Establish  `json:"establish,omitempty"`  // of those that begin from now on
	Address    *config.Address    `json:"address,omitempty"`    // too
	Inactivity *config.Inactivity `json:"inactivity,omitempty"` // of all

	// From the next up, or start, on.
	Bounds       *config.Bounds    `json:"inactivity_bounds,omitempty"`
	Privacy      *config.Privacy   `json:"privacy,omitempty"`
	FastOpen     *bool             `json:"fast_open,omitempty"`
	ImplicitESIM *bool             `json:"implicit_esim,omitempty"`
	Prototype    *config.Prototype `json:"prototype,omitempty"`
}

// Apply returns settings with what is to change changed.
func (c Change) Apply(s config.Settings) config.Settings {
	replace(&s.Scheduler, c.Scheduler)
	replace(&s.CostV, c.CostV)
	replace(&s.CostRate, c.CostRate)
	replace(&s.Establish, c.Establish)
	replace(&s.Address, c.Address)
	replace(&s.Inactivity, c.Inactivity)
	replace(&s.Bounds, c.Bounds)
	replace(&s.Privacy, c.Privacy)
	replace(&s.FastOpen, c.FastOpen)
	replace(&s.ImplicitESIM, c.ImplicitESIM)
	replace(&s.Prototype, c.Prototype)
	return s
}

// Without returns what is left to change when some of it has been decided otherwise.
func (c Change) Without(d Change) Change {
	drop(&c.Scheduler, d.Scheduler)
	drop(&c.CostV, d.CostV)
	drop(&c.CostRate, d.CostRate)
	drop(&c.Establish, d.Establish)
	drop(&c.Address, d.Address)
	drop(&c.Inactivity, d.Inactivity)
	drop(&c.Bounds, d.Bounds)
	drop(&c.Privacy, d.Privacy)
	drop(&c.FastOpen, d.FastOpen)
	drop(&c.ImplicitESIM, d.ImplicitESIM)
	drop(&c.Prototype, d.Prototype)
	return c
}

// Validate says what of it cannot be meant.
func (c Change) Validate() error {
	s := c.Apply(config.Settings{})
	return errors.Join(s.Scheduler.Validate(), s.CostV.Validate(), s.Establish.Validate(), s.Address.Validate(), s.Privacy.Validate(),
		s.Prototype.Validate())
}

func drop[T any](is **T, decided *T) {
	if decided != nil {
		*is = nil
	}
}
