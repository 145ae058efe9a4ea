package relay

import "testing"

// A bare Stream is no Waiter.
type bare struct{ Stream }

type waiter struct {
	Stream
	waited int
}

func (w *waiter) WaitRead() error { w.waited++; return nil }

func TestLender(t *testing.T) {
	l, w := newLender(2*large), &waiter{}
	take := func(s Stream, full bool, want int) []byte {
		t.Helper()
		b, err := l.wait(s, full)
		if err != nil || len(b) != want {
			t.Fatalf("%d octets, %v, want %d", len(b), err, want)
		}
		return b
	}
	first := take(w, false, large)
	take(bare{}, false, small)
	second := take(bare{}, true, large)
	third := take(w, false, small) // no more large ones
	l.giveBack(first)
	l.giveBack(third)
	take(w, true, large)
	l.giveBack(second)
	if w.waited != 3 || l.lent.Load() != large {
		t.Errorf("waited %d times, %d octets are lent", w.waited, l.lent.Load())
	}
}
