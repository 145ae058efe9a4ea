package tcp

import (
	"math/rand/v2"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/path"
	"tandem/engine/wire"
)

// careless is an owner that does what the input says, within the contract.
type careless struct {
	in     *input
	have   spans
	t      *testing.T
	pushed uint64
	acked  uint64
}

// input is a source of small decisions.
type input struct{ rest []byte }

func (i *input) next() int {
	if len(i.rest) == 0 {
		return 0
	}
	b := i.rest[0]
	i.rest = i.rest[1:]
	return int(b)
}

func (i *input) wide() int { return i.next()<<8 | i.next() }

func (c *careless) Fetch(at uint64, p []byte) {
	if at < c.acked || at+uint64(len(p)) > c.pushed {
		c.t.Fatalf("fetches %d+%d of %d to %d", at, len(p), c.acked, c.pushed)
	}
}

func (c *careless) Compose(_ clock.Time, s *Subflow, seg *wire.Segment, p Part, room int) {
	if room >= 20 && c.in.next()%4 == 0 {
		seg.Options.Has |= wire.HasDSS
		seg.Options.DSS = wire.DSS{HasMap: true, HasAck: true, DataLen: uint16(p.Len)}
	}
}

func (c *careless) Signals(now clock.Time, s *Subflow, _ *wire.Segment) bool {
	switch c.in.next() {
	case 255:
		s.Reset(now)
		return false
	case 254:
		return false
	case 253:
		s.Close(now)
	}
	return true
}

func (c *careless) Deliver(now clock.Time, s *Subflow, off uint64, p []byte) bool {
	switch c.in.next() {
	case 255:
		s.Reset(now)
	case 254:
		return false
	}
	piece := span{off, off + uint64(len(p))}
	if c.have.gap(piece) != piece {
		c.t.Fatalf("%v delivered twice", piece)
	}
	c.have.add(piece)
	return true
}

func (c *careless) Acked(now clock.Time, s *Subflow, off uint64) {
	if off < c.acked || off > c.pushed {
		c.t.Fatalf("acknowledged %d after %d of %d", off, c.acked, c.pushed)
	}
	c.acked = off
	if c.in.next() == 255 {
		s.Drop(now)
	}
}

func (c *careless) Window(*Subflow) int                { return c.in.wide() }
func (c *careless) Changed(now clock.Time, s *Subflow) {}

// FuzzReceive feeds segments that nobody would send to a subflow in any state: nothing panics, no invariant breaks,
// nothing is delivered twice, and every packet that leaves can be parsed.
func FuzzReceive(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		f.Add(noise(rng, 3000))
	}
	f.Fuzz(func(t *testing.T, data []byte) { receiveAnything(t, &input{data}) })
}

func receiveAnything(t *testing.T, in *input) {
	c := &careless{in: in, t: t}
	control := &fixed{1 << 20}
	shape := in.next()
	cfg := Config{
		Local: addrA, Remote: addrB, Path: path.New(control, 1440), ISS: wire.Seq(in.wide() << 16),
		Timestamps: shape&1 != 0, NoSACK: shape&2 != 0, ECN: shape&4 != 0, Early: shape&8 != 0,
		SharedWindow: shape&16 != 0, WindowScale: uint8(in.next() % 16), Retries: 1 + in.next()%4, SynRetries: 2,
	}
	cfg.AskCookie = shape&32 != 0
	if shape&64 != 0 {
		cfg.Cookie.Len = 8
	}
	if in.next()%2 == 0 {
		cfg.Keepalive = time.Duration(in.next()) * second
	}
	var now clock.Time
	buf := make([]byte, 1600)
	var s *Subflow
	if shape&128 != 0 {
		s = Open(now, cfg, c)
	} else {
		syn := anySegment(nil, in)
		syn.Flags = wire.SYN | syn.Flags&(wire.ECE|wire.CWR)
		s = Listen(now, cfg, c, syn)
	}
	for len(in.rest) > 0 {
		act(t, c, s, &now, buf, control)
		if err := broken(s); err != nil {
			t.Fatal(err)
		}
		if s.state != Closed && cfg.Path.Inflight() != s.snd.inPath || s.state == Closed && cfg.Path.Inflight() != 0 {
			t.Fatalf("state %v: path counts %d in flight, subflow %d", s.state, cfg.Path.Inflight(), s.snd.inPath)
		}
	}
}

func act(t *testing.T, c *careless, s *Subflow, now *clock.Time, buf []byte, control *fixed) {
	in := c.in
	switch op := in.next() % 32; op {
	case 0:
		s.Answer(*now)
	case 1:
		if in.next() < 8 {
			s.Close(*now)
		}
	case 2, 3:
		if n := in.wide(); s.state != Closed && !s.end.closing && n > 0 {
			c.pushed += uint64(n)
			s.Push(c.pushed-uint64(n), n)
		}
	case 4:
		control.window = in.wide() * 8
	case 5:
		s.Ack(in.next() % 4)
		s.WindowGrew()
	case 6:
		s.Probe()
	case 7, 8, 9:
		*now = now.Add(time.Duration(in.wide()) * 100 * time.Microsecond)
		s.Advance(*now)
	case 10:
		*now = max(*now, min(s.Deadline(), now.Add(time.Hour)))
		s.Advance(*now)
	case 11, 12, 13, 14, 15:
		transmitSome(t, s, *now, buf, in.next()%32)
	default:
		seg := anySegment(s, in)
		s.Receive(*now, seg)
	}
}

func transmitSome(t *testing.T, s *Subflow, now clock.Time, buf []byte, n int) {
	for range n {
		pkt, ok := s.Transmit(now, buf)
		if !ok {
			return
		}
		var seg wire.Segment
		if err := seg.Parse(pkt); err != nil || len(pkt) > 1440 {
			t.Fatalf("a packet of %d octets: %v", len(pkt), err)
		}
	}
}

// anySegment returns a segment near what s expects, or not.
func anySegment(s *Subflow, in *input) *wire.Segment {
	seg := &wire.Segment{Source: addrB, Target: addrA, Window: uint16(in.wide()), Flags: wire.ACK}
	if in.next()%8 == 0 {
		seg.Flags = wire.Flags(in.next())
	}
	if in.next()%16 == 0 {
		seg.TOS = wire.CE
	}
	seg.Seq, seg.Ack = wire.Seq(in.wide()), wire.Seq(in.wide())
	o := &seg.Options
	if s != nil {
		seg.Seq = s.rcv.seq(s.rcv.nxt) + wire.Seq(int8(in.next()))*wire.Seq(in.next()%64)
		seg.Ack = s.snd.seq(s.snd.una) + wire.Seq(int(s.snd.nxt-s.snd.una)*in.next()/128) - wire.Seq(max(0, in.next()-240))
		if s.state == SynSent {
			seg.Ack, seg.Flags = s.snd.seq(s.snd.nxt), seg.Flags|wire.SYN
		}
		if in.next()%2 == 0 && s.snd.nxt > s.snd.una {
			o.Has |= wire.HasSACK
			for range 1 + in.next()%4 {
				left := s.snd.seq(s.snd.una) + wire.Seq(uint64(in.wide())*(s.snd.nxt-s.snd.una)/0xffff)
				o.SACK[o.SACKs] = wire.Block{Left: left, Right: left + wire.Seq(in.wide())}
				o.SACKs++
			}
		}
	}
	if k := in.next(); k%4 > 0 {
		o.Has |= wire.OptionSet(in.next()) & (wire.HasMSS | wire.HasWindowScale | wire.HasSACKPermitted)
		o.Has |= wire.HasTimestamps
		o.MSS, o.WindowScale, o.TSVal = uint16(in.wide()), uint8(in.next()), uint32(k)
	}
	if n := in.next(); n%2 == 0 {
		seg.Payload = make([]byte, n*8)
	}
	return seg
}

// TestReceiveAnything is the fuzz target with inputs long enough to get somewhere.
func TestReceiveAnything(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for range 5000 / slowness {
		receiveAnything(t, &input{noise(rng, 6000)})
	}
}

// noise returns 100 octets and up to so many more.
func noise(rng *rand.Rand, more int) []byte {
	p := make([]byte, 100+rng.IntN(more))
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	return p
}
