package path

import (
	"testing"
	"time"

	"tandem/engine/clock"
)

func TestRTO(t *testing.T) {
	const m = time.Millisecond
	for _, c := range []struct {
		name    string
		samples []time.Duration
		want    time.Duration
	}{
		{"before the first sample", nil, time.Second},
		{"first sample: three times it", []time.Duration{100 * m}, 300 * m},
		{"floor", []time.Duration{10 * m}, 200 * m},
		{"ceiling", []time.Duration{50 * time.Second}, 60 * time.Second},
		{"nonsense is ignored", []time.Duration{-5 * m, 0}, time.Second},
		{"a longer one raises the variation at once", []time.Duration{100 * m, 300 * m}, 125*m + 4*(50+37)*m + 2*m},
	} {
		var r rtt
		now := second
		for _, d := range c.samples {
			r.sample(now, d)
			now = now.Add(d)
		}
		if got := r.rto(); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// A hundred equal samples in one round trip do not make a path look steady that was not.
func TestVariationFallsOncePerRoundTrip(t *testing.T) {
	var r rtt
	r.sample(0, 100*time.Millisecond)
	for i := range 100 {
		r.sample(clock.Time(i)*ms/2, 100*time.Millisecond)
	}
	if r.variation != 50*time.Millisecond {
		t.Errorf("variation %v", r.variation)
	}
	for i := range 100 {
		r.sample(second+clock.Time(i)*100*ms, 100*time.Millisecond)
	}
	if r.variation > 10*time.Millisecond {
		t.Errorf("variation %v after a hundred round trips", r.variation)
	}
}

func TestMinimumIsOfTenSeconds(t *testing.T) {
	var r rtt
	r.sample(second, 20*time.Millisecond)
	for at := 2 * second; at < 10*second; at += 100 * ms {
		r.sample(at, 50*time.Millisecond)
	}
	if r.min() != 20*time.Millisecond {
		t.Errorf("least %v", r.min())
	}
	for at := 10 * second; at < 12*second; at += 100 * ms {
		r.sample(at, 50*time.Millisecond)
	}
	if r.min() != 50*time.Millisecond || r.max != 50*time.Millisecond {
		t.Errorf("least %v, largest %v", r.min(), r.max)
	}
}

func TestPeak(t *testing.T) {
	var p peak
	for _, c := range []struct{ at, value, want int64 }{
		{1, 100, 100}, {2, 50, 100}, {5, 70, 100}, {8, 60, 100}, {11, 40, 100}, {12, 10, 70}, {16, 10, 60}, {40, 5, 5},
	} {
		if p.update(c.at, c.value, 10); p.best() != c.want {
			t.Errorf("at %d: %d, want %d", c.at, p.best(), c.want)
		}
	}
}
