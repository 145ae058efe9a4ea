package lab

import (
	"context"
	"os/exec"
	"strings"
	"time"
)

// A stage is what a household is set up for, and the trials that want it so.
type stage struct {
	name   string                                                             // stands before the names of its trials; "": nothing does
	needs  []string                                                           // programs that not every machine has
	set    func(ctx context.Context, h *household) (strike func(), err error) // strike: nil, if nothing needs it
	ready  func(ctx context.Context, h *household) error                      // before each trial; nil: always
	trials []trial
	last   *trial // comes after those that were asked for; nil: none does
}

const trialTime = 2 * time.Minute

// runStages makes a household and plays what of the stages has a name that contains only.
func runStages(ctx context.Context, t *table, only string, all ...stage) error {
	h := &household{}
	defer h.close()
	for _, s := range all {
		if s.trials = named(s.titled(), only); len(s.trials) == 0 {
			continue
		}
		if missing := lacks(s.needs); missing != "" {
			t.add(row{name: s.name, verdict: skip, why: missing})
			continue
		}
		if h.world == nil {
			if err := h.build(ctx); err != nil {
				return err
			}
		}
		if err := s.play(ctx, t, h); err != nil {
			return err
		}
	}
	return nil
}

// titled are the trials of a stage as the table names them.
func (s stage) titled() (all []trial) {
	for _, c := range s.trials {
		all = append(all, s.title(c))
	}
	return all
}

func (s stage) title(c trial) trial {
	if s.name != "" {
		c.name = s.name + ", " + c.name
	}
	return c
}

func (s stage) play(ctx context.Context, t *table, h *household) error {
	strike, err := s.set(ctx, h)
	if strike != nil {
		defer strike()
	}
	if err != nil {
		return err
	}
	if s.last != nil {
		s.trials = append(s.trials, s.title(*s.last))
	}
	for _, c := range s.trials {
		run := c.run
		c.run = func(ctx context.Context, h *household) (string, error) {
			if s.ready != nil {
				if err := s.ready(ctx, h); err != nil {
					return "", err
				}
			}
			return run(ctx, h)
		}
		keep, err := try(ctx, t, c, h, h.dir, trialTime)
		if h.keep = h.keep || keep; err != nil {
			return err
		}
	}
	return nil
}

// lacks says which of some programs this machine has not, if any.
func lacks(programs []string) string {
	var missing []string
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
		}
	}
	if missing == nil {
		return ""
	}
	return "needs " + strings.Join(missing, ", ")
}

// atHome is the stage of a laptop that has joined its hub, with the daemon connected over both links.
func atHome(name string, all []trial) stage {
	return stage{
		name: name,
		set: func(_ context.Context, h *household) (func(), error) {
			return func() {
				if h.clientJob != nil {
					h.clientJob.stop()
				}
			}, nil
		},
		ready:  func(ctx context.Context, h *household) error { return h.ready(ctx) },
		trials: all,
	}
}
