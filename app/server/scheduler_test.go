package server

import (
	"strings"
	"testing"
	"time"

	"tandem/engine"
)

// A scheduler that is none is found out at the start.
func TestScheduler(t *testing.T) {
	if _, err := New(Config{State: t.TempDir(), Scheduler: "best"}); err == nil || !strings.Contains(err.Error(), `"best" is not a scheduler`) {
		t.Errorf("%v", err)
	}
	for _, c := range []struct{ is, want string }{{"", DefaultScheduler}, {"owl", "owl"}} {
		if got := (&Config{Scheduler: c.is}).scheduler(); got != c.want {
			t.Errorf("%q: %q, want %q", c.is, got, c.want)
		}
	}
	idle := engine.Inactivity{Time: time.Hour, Request: true, Most: 2 * time.Hour}
	is := (&Config{Scheduler: "cost", CostV: 640, CostRate: 1e6, Inactivity: idle}).machine()
	if is.Inactivity != idle || !is.Paired || is.Scheduler != "cost" || is.CostV != 640 || is.CostRate != 1e6 {
		t.Errorf("a bond is made with %+v", is)
	}
}
