package wire

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestSeqWraps(t *testing.T) {
	for _, c := range []struct {
		s, t Seq
		sub  int
	}{
		{5, 5, 0},
		{6, 5, 1},
		{0, 0xffffffff, 1},
		{0xffffffff, 0, -1},
		{0x10, 0xfffffff0, 0x20},
		{0x7fffffff, 0, 1<<31 - 1},
		{0x80000001, 0, -(1<<31 - 1)},
	} {
		if got := c.s.Sub(c.t); got != c.sub {
			t.Errorf("%d - %d = %d, want %d", c.s, c.t, got, c.sub)
		}
		if got := c.t.Add(c.sub); got != c.s {
			t.Errorf("%d + %d = %d, want %d", c.t, c.sub, got, c.s)
		}
		if c.s.Less(c.t) != (c.sub < 0) || c.s.LessEq(c.t) != (c.sub <= 0) {
			t.Errorf("%d and %d are in the wrong order", c.s, c.t)
		}
	}
}

// Distances beyond an int of 32 bits keep their sign.
func TestDSNFarApart(t *testing.T) {
	const far = 1 << 40
	if got := int64(DSN(far).Sub(0)); got != min(far, math.MaxInt) {
		t.Errorf("ahead by %d", got)
	}
	if got := int64(DSN(0).Sub(far)); got != max(-far, math.MinInt) {
		t.Errorf("behind by %d", got)
	}
}

func TestDSNWraps(t *testing.T) {
	const last = DSN(1<<64 - 1)
	if last.Add(3) != 2 || DSN(2).Sub(last) != 3 || last.Sub(2) != -3 {
		t.Error("distances across the wrap")
	}
	if !last.Less(0) || DSN(0).Less(last) || last.Less(last) || !last.LessEq(last) || !last.LessEq(0) || DSN(0).LessEq(last) {
		t.Error("order across the wrap")
	}
}

func TestExtend(t *testing.T) {
	for _, c := range []struct {
		d    DSN
		low  uint32
		want DSN
	}{
		{0x1_0000_0005, 0x0000_0009, 0x1_0000_0009},
		{0x1_0000_0005, 0x0000_0001, 0x1_0000_0001},
		{0x1_ffff_fff0, 0x0000_0010, 0x2_0000_0010},
		{0x2_0000_0010, 0xffff_fff0, 0x1_ffff_fff0},
		{0x1_8000_0000, 0x0000_0001, 0x1_0000_0001},
		{0x1_8000_0001, 0x0000_0000, 0x2_0000_0000},
		{0xffff_ffff_ffff_fff0, 0x0000_0010, 0x10},
		{0x10, 0xffff_fff0, 0xffff_ffff_ffff_fff0},
	} {
		if got := c.d.Extend(c.low); got != c.want {
			t.Errorf("%x, low half %08x: %x, want %x", uint64(c.d), c.low, uint64(got), uint64(c.want))
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 10000 {
		d := DSN(r.Uint64())
		near := d.Add(int(r.Int32()) * (1 - 2*r.IntN(2)))
		if got := d.Extend(uint32(near)); got != near {
			t.Fatalf("%x from %x: got %x", uint64(near), uint64(d), uint64(got))
		}
	}
}
