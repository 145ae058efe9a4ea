package wire

import "testing"

// No option allocates, coming in or going out.
func TestOptionsAllocateNothing(t *testing.T) {
	buf := make([]byte, 0, MaxOptions)
	for _, g := range golden {
		want := octets(t, g.wire)
		var o Options
		if n := testing.AllocsPerRun(10, func() {
			o.Parse(want)
			buf = o.Append(buf[:0])
		}); n != 0 {
			t.Errorf("%s: %v allocations", g.name, n)
		}
	}
}

func TestPrototype(t *testing.T) {
	for _, p := range []Prototype{0, 100, 240, 255} {
		if got, want := p.InactivityTime(), (InactivityTime{Request: true, Value: uint16(p)}); got != want {
			t.Errorf("%d is %v", p, &got)
		}
	}
	if got := Prototype(255).RateLimit(); got != 2040 {
		t.Errorf("255 KB/s are %d kbit/s", got)
	}
}

// An inactivity time that cannot be read leaves nothing behind.
func TestUnread(t *testing.T) {
	for _, hex := range []string{
		"1e08 fc10 0000 0000", "1e07 fc10 0001 00", "1e09 fc10 0001 000000",
		"1e17 a002 0102030405060708 0014ec80c8c1d73443163a", "1e06 b000 0001", "1e0c b000 0000000100000002",
		"1e09 f011 0000000100", "1e08 f012 00000001", "1e03 90", "1e03 f0", "1e05 f0 10 00", "1e04 f1 10", "1e02",
	} {
		var o Options
		if o.Parse(octets(t, hex)); o != (Options{}) {
			t.Errorf("%s: %+v", hex, o)
		}
	}
}
