package sim

import (
	"net/netip"
	"strings"
	"testing"

	"tandem/engine/wire"
)

const (
	keyA, keyB = 0x0102030405060708, 0x1112131415161718
	windowA    = 400 // announced by bob with scale 2: 1600 octets
)

// witness is a judge and a host whose packets it sees.
type witness struct {
	t     *testing.T
	judge *Judge
	host  *Host
	path  *Path
	idsn  wire.DSN // of alice
	other wire.DSN // of bob

	here, there netip.AddrPort
}

// handshake shows a judge how alice meets bob.
func handshake(t *testing.T) *witness {
	h := &Host{Name: "alice"}
	w := &witness{t: t, judge: NewJudge(), host: h, path: &Path{}, here: alice, there: bob}
	_, w.idsn = wire.KeyToken(keyA)
	_, w.other = wire.KeyToken(keyB)
	syn := &wire.Segment{Flags: wire.SYN}
	syn.Options.Has, syn.Options.Capable.Length, syn.Options.WindowScale = wire.HasCapable|wire.HasWindowScale, 4, 7
	w.sends(syn, "")
	answer := &wire.Segment{Flags: wire.SYN | wire.ACK, Window: 1500}
	answer.Options.Has, answer.Options.WindowScale = wire.HasCapable|wire.HasWindowScale, 2
	answer.Options.Capable = wire.Capable{Length: 12, Version: 1, Sender: keyB}
	w.gets(answer)
	third := &wire.Segment{Flags: wire.ACK}
	third.Options.Has = wire.HasCapable
	third.Options.Capable = wire.Capable{Length: 20, Version: 1, Sender: keyA, Receiver: keyB}
	w.sends(third, "")
	return w
}

// sends shows the judge a segment of alice's, who must think of it as said.
func (w *witness) sends(s *wire.Segment, want string) {
	w.t.Helper()
	s.Source, s.Target = w.here, w.there
	err := w.judge.See(&Sight{Host: w.host, Path: w.path, Sent: true, Packet: s.Append(nil)})
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		w.t.Errorf("%v: got %v, want %q", s, err, want)
	}
}

func (w *witness) gets(s *wire.Segment) {
	w.t.Helper()
	s.Source, s.Target = w.there, w.here
	if err := w.judge.See(&Sight{Host: w.host, Path: w.path, Packet: s.Append(nil)}); err != nil {
		w.t.Error(err)
	}
}

func dss(d wire.DSS, payload int) *wire.Segment {
	s := &wire.Segment{Flags: wire.ACK, Window: windowA, Payload: make([]byte, payload)}
	s.Options.Has, s.Options.DSS = wire.HasDSS, d
	return s
}

func acks(at wire.DSN) wire.DSS { return wire.DSS{HasAck: true, Ack64: true, Ack: at} }

func maps(at wire.DSN, n int) wire.DSS {
	return wire.DSS{HasMap: true, Map64: true, DSN: at, SSN: 1, DataLen: uint16(n)}
}

func TestJudgeMindsDataAcks(t *testing.T) {
	w := handshake(t)
	w.sends(dss(acks(w.other+1), 0), "")
	w.sends(dss(acks(w.other+500), 0), "")
	w.sends(dss(acks(w.other+500), 0), "")
	w.sends(dss(wire.DSS{HasAck: true, Ack: wire.DSN(uint32(w.other + 600))}, 0), "")
	w.sends(dss(acks(w.other+599), 0), "DATA_ACK goes back")
}

func TestJudgeMindsWindows(t *testing.T) {
	w := handshake(t)
	w.sends(dss(maps(w.idsn+1, 1400), 1400), "")
	w.sends(dss(maps(w.idsn+1401, 100), 100), "") // all that the SYN/ACK allows
	w.sends(dss(maps(w.idsn+1501, 2), 2), "the window ends")
	w.gets(dss(acks(w.idsn+1), 0)) // up to idsn+1601
	w.sends(dss(maps(w.idsn+1501, 100), 100), "")
	w.sends(dss(maps(w.idsn+1601, 1), 1), "") // a probe
	w.sends(dss(maps(w.idsn+1602, 100), 100), "the window ends")
	w.gets(dss(acks(w.idsn+200), 0))
	w.sends(dss(maps(w.idsn+1602, 199), 199), "")
	w.sends(dss(maps(w.idsn+1801, 2), 2), "the window ends")
}

func TestJudgeKnowsJoins(t *testing.T) {
	w := handshake(t)
	w.sends(dss(acks(w.other+500), 0), "")
	token, _ := wire.KeyToken(keyB)
	syn := &wire.Segment{Flags: wire.SYN}
	syn.Options.Has, syn.Options.Join = wire.HasJoin, wire.Join{Length: 12, Token: token}
	w.here, w.there = alice6, bob6
	w.sends(syn, "")
	w.sends(dss(acks(w.other+400), 0), "DATA_ACK goes back")
}

func TestJudgeLeavesFallbackAlone(t *testing.T) {
	w := handshake(t)
	w.sends(dss(acks(w.other+500), 0), "")
	infinite := maps(w.idsn+1, 0)
	w.sends(dss(infinite, 100), "")
	w.sends(dss(acks(w.other+1), 0), "")
}
