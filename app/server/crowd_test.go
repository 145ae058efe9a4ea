package server

import (
	"net/netip"
	"testing"
)

// One stranger never has more than half of what the others leave, and is forgotten when it has nothing.
func TestCrowd(t *testing.T) {
	c := newCrowd(100)
	var leave []func()
	fill := func(text string) (n int) {
		for {
			f := c.enter(netip.MustParseAddr(text))
			if f == nil {
				return n
			}
			leave = append(leave, f)
			n++
		}
	}
	for _, x := range []struct {
		who  string
		want int
	}{{"192.0.2.1", 50}, {"::ffff:192.0.2.1", 0}, {"2001:db8::1", 25}, {"2001:db8::2", 0}, {"2001:db8:0:1::1", shareMin}, {"192.0.2.2", 9}} {
		if n := fill(x.who); n != x.want {
			t.Errorf("%s has %d, want %d", x.who, n, x.want)
		}
	}
	if len(c.shares) != 4 || c.budget.used != 100 {
		t.Errorf("%d shares, %d used", len(c.shares), c.budget.used)
	}
	for _, f := range leave {
		f()
		f()
	}
	if len(c.shares) != 0 || c.budget.used != 0 {
		t.Errorf("%d shares, %d used after all have left", len(c.shares), c.budget.used)
	}
}
