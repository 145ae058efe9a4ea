package config

import (
	"testing"
	"time"
)

func TestMonth(t *testing.T) {
	for _, c := range []struct {
		now  string
		day  int
		want string
	}{
		{"2026-11-22", 1, "2026-11-01"},
		{"2026-11-22", 22, "2026-11-22"},
		{"2026-11-22", 23, "2026-10-23"},
		{"2026-01-05", 28, "2025-12-28"},
	} {
		now, _ := time.Parse(time.DateOnly, c.now)
		if got := Month(now, c.day).Format(time.DateOnly); got != c.want {
			t.Errorf("%s with day %d: %s, want %s", c.now, c.day, got, c.want)
		}
	}
}

func TestCap(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	l := NewLink()
	l.Cap = 1000
	var u Usage
	u.Add(999, now, l.ResetDay)
	if why := u.Spent(l, now); why != "" {
		t.Errorf("before the cap: %q", why)
	}
	u.Add(1, now, l.ResetDay)
	if why := u.Spent(l, now); why != "its cap of 1kB is used up until 2026-12-01" {
		t.Errorf("at the cap: %q", why)
	}
	later := now.AddDate(0, 1, 0)
	if why := u.Spent(l, later); why != "" {
		t.Errorf("in the next month: %q", why)
	}
	u.Add(5, later, l.ResetDay)
	if u.Octets != 5 {
		t.Errorf("%d octets in the new month, want 5", u.Octets)
	}
	l.Cap = 0
	if why := u.Spent(l, later); why != "" {
		t.Errorf("without a cap: %q", why)
	}
	f := folder(t)
	if err := f.SaveUsage(map[string]Usage{"a": u}); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Usage(); err != nil || got["a"].Octets != 5 || !got["a"].Month.Equal(u.Month) {
		t.Errorf("%+v, %v, want %+v", got, err, u)
	}
}
