package sim

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"tandem/engine/wire"
)

var (
	alice  = netip.MustParseAddrPort("10.0.0.1:1000")
	bob    = netip.MustParseAddrPort("10.0.0.2:80")
	alice6 = netip.MustParseAddrPort("[fd00::1]:1000")
	bob6   = netip.MustParseAddrPort("[fd00::2]:80")
)

// data is a segment from alice to bob with a DSS and a timestamp.
func data(seq wire.Seq, payload string) *wire.Segment {
	s := &wire.Segment{Source: alice, Target: bob, Seq: seq, Ack: 77, Flags: wire.ACK, Window: 500, Payload: []byte(payload)}
	s.Options.Has = wire.HasTimestamps | wire.HasDSS | wire.HasSACK
	s.Options.TSVal = 5
	s.Options.DSS = wire.DSS{HasAck: true, Ack: 3, HasMap: true, DSN: 9, SSN: 1, DataLen: uint16(len(payload))}
	s.Options.SACK[0], s.Options.SACKs = wire.Block{Left: 100, Right: 200}, 1
	return s
}

// through sends segments through a box and parses what comes out.
func through(t *testing.T, b Middlebox, back bool, in ...*wire.Segment) (out []wire.Segment) {
	t.Helper()
	emit := func(pkt []byte) {
		var s wire.Segment
		if err := s.Parse(append([]byte(nil), pkt...)); err != nil {
			t.Errorf("%T made a packet that is not whole: %v", b, err)
		}
		out = append(out, s)
	}
	for _, s := range in {
		b.Pass(s.Append(nil), back, emit)
	}
	if k, ok := b.(Keeper); ok {
		k.Flush(back, emit)
	}
	return out
}

func TestStrip(t *testing.T) {
	for _, c := range []struct {
		box   *Strip
		flags wire.Flags
		back  bool
		want  wire.OptionSet // of what the segment had
	}{
		{&Strip{}, wire.ACK, false, wire.HasTimestamps | wire.HasSACK},
		{&Strip{How: FillNop}, wire.ACK, false, wire.HasTimestamps | wire.HasSACK},
		{&Strip{How: FillEnd}, wire.ACK, false, wire.HasTimestamps},
		{&Strip{How: ManglePart}, wire.ACK, true, wire.HasTimestamps | wire.HasSACK},
		{&Strip{When: OnSYN}, wire.ACK, false, wire.HasTimestamps | wire.HasDSS | wire.HasSACK},
		{&Strip{When: OnSYN}, wire.SYN, false, wire.HasTimestamps | wire.HasSACK},
		{&Strip{When: OnSYN}, wire.SYN | wire.ACK, false, wire.HasTimestamps | wire.HasDSS | wire.HasSACK},
		{&Strip{When: OnSYNACK}, wire.SYN | wire.ACK, true, wire.HasTimestamps | wire.HasSACK},
		{&Strip{When: OnSYNACK}, wire.SYN, true, wire.HasTimestamps | wire.HasDSS | wire.HasSACK},
		{&Strip{When: OnAnySYN}, wire.SYN | wire.ACK, true, wire.HasTimestamps | wire.HasSACK},
		{&Strip{When: OnForward}, wire.ACK, false, wire.HasTimestamps | wire.HasSACK},
		{&Strip{When: OnForward}, wire.ACK, true, wire.HasTimestamps | wire.HasDSS | wire.HasSACK},
		{&Strip{When: OnBack}, wire.ACK, true, wire.HasTimestamps | wire.HasSACK},
	} {
		in := data(1, "hello")
		in.Flags = c.flags
		out := through(t, c.box, c.back, in)
		if len(out) != 1 || out[0].Options.Has != c.want || string(out[0].Payload) != "hello" || out[0].Options.TSVal != 5 {
			t.Errorf("%+v, flags %v: got %v", *c.box, c.flags, out)
		}
	}
}

func TestSplitCopiesTheMapping(t *testing.T) {
	in := data(1000, "hello")
	in.Flags |= wire.PSH | wire.FIN
	out := through(t, &Split{}, false, in)
	if len(out) != 2 || string(out[0].Payload) != "he" || string(out[1].Payload) != "llo" {
		t.Fatalf("got %v", out)
	}
	if out[0].Options != out[1].Options || out[0].Options.DSS.DataLen != 5 {
		t.Errorf("options differ: %v", out)
	}
	if out[1].Seq != 1002 || out[0].Flags != wire.ACK || out[1].Flags != in.Flags {
		t.Errorf("got %v", out)
	}
	for _, whole := range []*wire.Segment{data(1, "x"), data(1, "")} {
		if out := through(t, &Split{}, false, whole); len(out) != 1 {
			t.Errorf("%v was cut", whole)
		}
	}
}

func TestJoinKeepsOneMapping(t *testing.T) {
	out := through(t, &Join{Max: 1500}, false, data(1000, "he"), data(1002, "llo"), data(2000, "x"), data(3000, "y"))
	if len(out) != 3 || string(out[0].Payload) != "hello" || out[0].Options.DSS.DataLen != 2 || out[1].Seq != 2000 || out[2].Seq != 3000 {
		t.Errorf("got %v", out)
	}
	if out := through(t, &Join{Max: 80}, false, data(1000, "he"), data(1002, "llo")); len(out) != 2 {
		t.Errorf("too long: %v", out)
	}
	fin := data(1002, "")
	fin.Flags |= wire.FIN
	if out := through(t, &Join{Max: 1500}, false, data(1000, "he"), fin); len(out) != 2 || out[0].Seq != 1000 {
		t.Errorf("order: %v", out)
	}
}

func TestShiftMovesBothDirectionsAlike(t *testing.T) {
	box := &Shift{Key: 7}
	there := through(t, box, false, data(1000, "hello"))[0]
	if there.Seq == 1000 || there.Ack == 77 || there.Options.SACK[0].Right.Sub(there.Options.SACK[0].Left) != 100 {
		t.Fatalf("got %v", &there)
	}
	// What bob says of what he sees must fit what alice sent, and the reverse.
	answer := &wire.Segment{Source: bob, Target: alice, Seq: there.Ack, Ack: there.Seq.Add(5), Flags: wire.ACK}
	answer.Options.Has, answer.Options.SACKs = wire.HasSACK, 1
	answer.Options.SACK[0] = wire.Block{Left: there.Seq.Add(10), Right: there.Seq.Add(20)}
	back := through(t, box, true, answer)[0]
	if back.Seq != 77 || back.Ack != 1005 || back.Options.SACK[0] != (wire.Block{Left: 1010, Right: 1020}) {
		t.Errorf("got %v", &back)
	}
}

func TestNATHidesAndFinds(t *testing.T) {
	box := &NAT{Outside: netip.MustParseAddr("203.0.113.5")}
	out := through(t, box, false, data(1, "a"))[0]
	again := through(t, box, false, data(2, "b"))[0]
	if out.Source.Addr() != box.Outside || out.Source != again.Source || out.Target != bob {
		t.Fatalf("got %v", &out)
	}
	answer := &wire.Segment{Source: bob, Target: out.Source, Flags: wire.ACK}
	if back := through(t, box, true, answer); len(back) != 1 || back[0].Target != alice {
		t.Errorf("got %v", back)
	}
	box.Forget()
	if back := through(t, box, true, answer); len(back) != 0 {
		t.Errorf("a forgotten flow came in: %v", back)
	}
	s := data(1, "six")
	s.Source, s.Target = alice6, bob6
	if out := through(t, box, false, s); out[0].Source != alice6 {
		t.Errorf("the other family: %v", out)
	}
}

func TestAlterFixesTheChecksum(t *testing.T) {
	box := &Alter{Chance: 1, Dice: rand.New(rand.NewPCG(1, 1))}
	for _, ends := range [][2]netip.AddrPort{{alice, bob}, {alice6, bob6}} {
		in := data(1, "hello")
		in.Source, in.Target = ends[0], ends[1]
		if out := through(t, box, false, in); len(out) != 1 || string(out[0].Payload) == "hello" || len(out[0].Payload) != 5 {
			t.Errorf("got %v", out)
		}
	}
}

func TestNoiseIsNoticed(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 1))
	for _, ends := range [][2]netip.AddrPort{{alice, bob}, {alice6, bob6}} {
		for range 2000 {
			in := data(1, "hello")
			in.Source, in.Target = ends[0], ends[1]
			pkt := in.Append(nil)
			flip(pkt, dice)
			var out wire.Segment
			if err := out.Parse(pkt); err == nil {
				t.Fatalf("%v became %v unnoticed", in, &out)
			}
		}
	}
}
