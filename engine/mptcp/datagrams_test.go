package mptcp

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"tandem/engine/datagram"
	"tandem/engine/wire"
)

var (
	host4  = netip.MustParseAddr("198.18.0.2")
	host6  = netip.MustParseAddr("fd00::2")
	app4   = netip.AddrPortFrom(host4, 4000)
	app6   = netip.AddrPortFrom(host6, 4000)
	there4 = netip.MustParseAddrPort("203.0.113.9:53")
	there6 = netip.MustParseAddrPort("[2001:db8::9]:53")
)

// post is a duo with a datagram lane: end 0 is the client, end 1 the hub.
type post struct {
	*duo
	over [2][]PathID // which path each datagram left over
	dead map[PathID]bool
	seen func(from int, id PathID, pkt []byte)
}

func newPost(t *testing.T, paths int) *post {
	near := Config{Paired: true, Datagrams: DatagramConfig{Near: true, Host4: host4, Host6: host6}}
	far := Config{Paired: true, Datagrams: DatagramConfig{Host4: host4, Host6: host6}}
	p := &post{duo: newDuo(t, near, far, 0), dead: map[PathID]bool{}}
	p.lose = func(_, from int, id PathID, pkt []byte) bool {
		var v wire.Packet
		if v.Parse(pkt) == nil && v.Protocol != wire.TCP && v.From != datagram.Port {
			p.over[from] = append(p.over[from], id)
			if p.seen != nil {
				p.seen(from, id, pkt)
			}
		}
		return p.dead[id]
	}
	for i := range paths {
		p.delay[i] = time.Duration(5+10*i) * time.Millisecond
		p.attach(0, i, Primary)
		p.attach(1, i, Primary)
	}
	p.run(200*time.Millisecond, nil)
	return p
}

// slot are the addresses of a path, the client's and the hub's.
func slot(i int) (client4, hub4, client6, hub6 netip.Addr) {
	return netip.AddrFrom4([4]byte{198, 18, 8, byte(i)}), netip.AddrFrom4([4]byte{198, 18, 0, 1}),
		netip.AddrFrom16([16]byte{0: 0xfd, 13: 1, 15: byte(i)}), netip.AddrFrom16([16]byte{0: 0xfd, 15: 1})
}

func (p *post) attach(end, i int, role Role) {
	cfg := PathConfig{MTU: 1400, Role: role}
	cfg.Local4, cfg.Peer4, cfg.Local6, cfg.Peer6 = slot(i)
	if end == 1 {
		cfg.Local4, cfg.Peer4, cfg.Local6, cfg.Peer6 = cfg.Peer4, cfg.Local4, cfg.Peer6, cfg.Local6
	}
	p.ends[end].Attach(p.now, PathID(i), cfg)
}

func udp(source, target netip.AddrPort, payload string) []byte {
	d := wire.Datagram{Source: source, Target: target, Payload: []byte(payload)}
	return d.Append(nil)
}

// send gives packets to an end and lets them leave.
func (p *post) send(end int, pkts ...[]byte) {
	for _, pkt := range pkts {
		p.ends[end].SendPacket(p.now, pkt)
	}
	p.flush()
}

// took returns what came out at an end.
func (p *post) took(end int) (all [][]byte) {
	for pkt, ok := p.ends[end].NextPacket(); ok; pkt, ok = p.ends[end].NextPacket() {
		all = append(all, bytes.Clone(pkt))
	}
	return all
}

// left returns over which path each datagram left an end since it was last asked.
func (p *post) left(end int) (over []PathID) {
	over, p.over[end] = p.over[end], nil
	return over
}

func (p *post) wait(d time.Duration) { p.run(d, nil) }

func (p *post) wantPaths(end int, want ...PathID) {
	p.t.Helper()
	if got := p.left(end); !slices.Equal(got, want) {
		p.t.Fatalf("%v: left over %v, want %v", p.now, got, want)
	}
}

func (p *post) wantPackets(end int, want ...[]byte) {
	p.t.Helper()
	got := p.took(end)
	if len(got) != len(want) {
		p.t.Fatalf("%v: %d packets, want %d", p.now, len(got), len(want))
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			p.t.Fatalf("packet %d\ngot  %x\nwant %x", i, got[i], want[i])
		}
	}
}

// What the hub gets is what the client sent, to the octet, and the other way round; between them it has
// the path's address.
func TestDatagramsThereAndBack(t *testing.T) {
	p := newPost(t, 2)
	client4, _, client6, _ := slot(0)
	p.seen = func(from int, _ PathID, pkt []byte) {
		var d wire.Datagram
		at := []*netip.AddrPort{&d.Source, &d.Target}[from]
		if err := d.Parse(pkt); err != nil || at.Addr() != client4 && at.Addr() != client6 {
			t.Errorf("%v > %v: %v", d.Source, d.Target, err)
		}
	}
	for _, x := range []struct{ here, there netip.AddrPort }{{app4, there4}, {app6, there6}} {
		ask, answer := udp(x.here, x.there, "who"), udp(x.there, x.here, "nobody")
		p.send(0, ask)
		p.wait(6 * time.Millisecond)
		p.wantPackets(1, ask)
		p.send(1, answer)
		p.wait(6 * time.Millisecond)
		p.wantPackets(0, answer)
	}
	p.wantPaths(0, 0, 0)
	p.wantPaths(1, 0, 0)
}

// A flow stays where it began though another path has become quicker; the next one does not.
func TestFlowStays(t *testing.T) {
	p := newPost(t, 2)
	p.send(0, udp(app4, there4, "1"))
	p.ends[0].path(0).state.RTTSample(p.now, 300*time.Millisecond)
	other := netip.AddrPortFrom(host4, 4001)
	p.send(0, udp(app4, there4, "2"))
	p.send(0, udp(other, there4, "1"))
	p.send(0, udp(app4, there4, "3"))
	p.wantPaths(0, 0, 0, 1, 0)
	t.Log("after a minute of silence it begins again")
	p.now = p.now.Add(61 * time.Second)
	p.send(0, udp(app4, there4, "4"))
	p.wantPaths(0, 1)
}

// A path that goes silent under datagrams that nobody answers is found out by a PING, and left.
func TestFlowLeavesASilentPath(t *testing.T) {
	p := newPost(t, 2)
	p.send(0, udp(app4, there4, "1"))
	p.wait(20 * time.Millisecond)
	p.dead[0] = true
	died := p.now
	for p.now < died.Add(time.Second) {
		p.send(0, udp(app4, there4, "2"))
		if over := p.left(0); over[len(over)-1] == 1 {
			break
		}
		p.wait(5 * time.Millisecond)
	}
	if took := p.now.Sub(died); took > 280*time.Millisecond {
		t.Fatalf("it took %v", took)
	}
	if e, ok := last(p.ends[0], PathSilent); !ok || e.Path != 0 {
		t.Fatalf("%+v", e)
	}
	t.Log("it works again: flows that begin take it, the one that left stays")
	p.dead[0] = false
	p.wait(2 * time.Second)
	if e, ok := last(p.ends[0], PathAlive); !ok || e.Path != 0 || e.RTT == 0 {
		t.Fatalf("%+v", e)
	}
	p.send(0, udp(app4, there4, "3"))
	p.send(0, udp(netip.AddrPortFrom(host4, 1), there4, "1"))
	p.wantPaths(0, 1, 0)
}

// last returns the last event of a kind, and forgets all.
func last(b *Bond, kind EventKind) (found Event, ok bool) {
	for e, more := b.NextEvent(); more; e, more = b.NextEvent() {
		if e.Kind == kind {
			found, ok = e, true
		}
	}
	return found, ok
}

// A path that answers is never asked more than it must be, and an idle one not at all.
func TestDatagramsAreThrifty(t *testing.T) {
	p := newPost(t, 2)
	pings := 0
	lose := p.lose
	p.lose = func(n, from int, id PathID, pkt []byte) bool {
		if before := len(p.over[from]); !lose(n, from, id, pkt) && len(p.over[from]) == before {
			pings++
		}
		return false
	}
	for range 20 {
		p.send(0, udp(app4, there4, "who"))
		p.wait(20 * time.Millisecond)
		p.send(1, udp(there4, app4, "nobody"))
		p.wait(20 * time.Millisecond)
	}
	if pings > 2 {
		t.Errorf("%d packets of the control lane beside questions and answers", pings)
	}
	p.wait(time.Second)
	pings = 0
	p.wait(time.Hour)
	if pings != 0 {
		t.Errorf("%d packets in an idle hour", pings)
	}
}

// Detaching moves a flow in the same instant, at the other end as soon as word comes.
func TestFlowLeavesADetachedPath(t *testing.T) {
	p := newPost(t, 2)
	p.send(0, udp(app4, there4, "1"))
	p.send(1, udp(there4, app4, "1"))
	p.wait(20 * time.Millisecond)
	p.left(0)
	p.left(1)
	p.ends[0].Detach(p.now, 0)
	p.send(0, udp(app4, there4, "2"))
	p.wantPaths(0, 1)
	p.wait(p.delay[1] + time.Millisecond)
	p.send(1, udp(there4, app4, "2"))
	p.wantPaths(1, 1)
	if !p.ends[1].Paths(p.now)[0].PeerOff {
		t.Error("the hub does not know")
	}
	p.attach(0, 0, Primary)
	p.wait(100 * time.Millisecond)
	if p.ends[1].Paths(p.now)[0].PeerOff {
		t.Error("the hub does not know that it is back")
	}
}

// Roles come before speed, whichever end wants them; a flow returns to a better one after a while.
func TestFlowsKeepToRoles(t *testing.T) {
	p := newPost(t, 3)
	p.ends[0].SetRole(p.now, 0, Backup)
	p.ends[1].SetRole(p.now, 1, Secondary)
	p.wait(100 * time.Millisecond)
	p.send(0, udp(app4, there4, "1"))
	p.send(1, udp(there4, app4, "1"))
	p.wantPaths(0, 2)
	p.wantPaths(1, 2)
	p.ends[0].Detach(p.now, 2)
	p.send(0, udp(app4, there4, "2"))
	p.ends[0].Detach(p.now, 1)
	p.send(0, udp(app4, there4, "3"))
	p.wantPaths(0, 1, 0)
	p.attach(0, 2, Primary)
	p.send(0, udp(app4, there4, "4"))
	p.wait(pathRest)
	p.send(0, udp(app4, there4, "5"))
	p.wantPaths(0, 0, 2)
}

// The hub takes from a path what has its address, the client what is for it, and neither lets applications
// speak to the lanes of the bond.
func TestNothingSpoofedPasses(t *testing.T) {
	p := newPost(t, 2)
	client4, hub4, _, _ := slot(0)
	other, _, _, _ := slot(1)
	elsewhere := netip.MustParseAddr("192.0.2.66")
	for _, source := range []netip.Addr{other, host4, hub4, elsewhere} {
		p.ends[1].Receive(p.now, 0, udp(netip.AddrPortFrom(source, 4000), there4, "x"))
		p.ends[0].Receive(p.now, 0, udp(there4, netip.AddrPortFrom(source, 4000), "x"))
	}
	p.wantPackets(0)
	p.wantPackets(1)
	if a, b := p.ends[0].counters.Datagrams.Spoofed, p.ends[1].counters.Datagrams.Spoofed; a != 4 || b != 4 {
		t.Errorf("%d and %d spoofed", a, b)
	}
	seg := wire.Segment{Source: app4, Target: there4, Flags: wire.SYN}
	p.send(0, udp(netip.AddrPortFrom(elsewhere, 1), there4, "x"), udp(netip.AddrPortFrom(client4, 1), there4, "x"), seg.Append(nil),
		udp(app4, netip.AddrPortFrom(hub4, datagram.Port), "x"))
	p.send(1, udp(there4, netip.AddrPortFrom(elsewhere, 1), "x"), udp(there4, netip.AddrPortFrom(client4, 1), "x"))
	p.wantPaths(0)
	p.wantPaths(1)
	if a, b := p.ends[0].counters.Datagrams.Refused, p.ends[1].counters.Datagrams.Refused; a != 4 || b != 2 {
		t.Errorf("%d and %d refused", a, b)
	}
	t.Log("who has the path's address but not the lane's port says nothing to the control lane")
	hello := p.ends[0].lane.control
	var buf [1200]byte
	hello.Ping(p.now, 0, 0)
	_, msg, _ := hello.Transmit(p.now, buf[:])
	p.ends[1].Receive(p.now, 0, udp(netip.AddrPortFrom(client4, 5), netip.AddrPortFrom(hub4, datagram.Port), string(msg)))
	p.flush()
	if got := p.took(1); len(got) != 1 {
		t.Errorf("%d packets", len(got))
	}
	t.Log("and what the control lane does not take is not taken for a datagram")
	p.ends[1].Receive(p.now, 0, udp(netip.AddrPortFrom(client4, datagram.Port), netip.AddrPortFrom(hub4, datagram.Port), "nonsense"))
	p.wantPackets(1)
}

// A long packet that may be cut is; whole it comes out of the hub, in fragments of the client.
func TestLongPackets(t *testing.T) {
	p := newPost(t, 2)
	long := string(make([]byte, 3000))
	free := udp(app4, there4, long)
	free[6] = 0 // may be cut
	free = sealed(free)
	p.send(0, free)
	p.wait(20 * time.Millisecond)
	p.wantPackets(1, udp0(free))
	p.wantPaths(0, 0, 0, 0)

	t.Log("the hub cuts all, also what must not be, because nobody there could make it shorter")
	for _, answer := range [][]byte{udp(there4, app4, long), udp(there6, app6, long)} {
		p.send(1, answer)
		p.wait(20 * time.Millisecond)
		var r datagram.Reassembler
		var v wire.Packet
		whole := 0
		for _, piece := range p.took(0) {
			v.Parse(piece)
			if pkt, ok := r.Add(p.now, &v, piece); ok {
				var d wire.Datagram
				if err := d.Parse(pkt); err != nil || len(d.Payload) != 3000 {
					t.Errorf("%d octets: %v", len(d.Payload), err)
				}
				whole++
			}
		}
		if whole != 1 {
			t.Errorf("%d came", whole)
		}
	}

	t.Log("but not what has more headers than a fragment holds")
	headed := udp(there6, app6, long)
	options := make([]byte, 8*256)
	options[0], options[1] = headed[6], 255
	headed = slices.Insert(headed, 40, options...)
	headed[6] = 60 // destination options
	binary.BigEndian.PutUint16(headed[4:], uint16(len(headed)-40))
	p.left(1)
	p.send(1, headed)
	p.wantPaths(1)
	if n := p.ends[1].counters.Datagrams.Malformed; n != 1 {
		t.Errorf("%d counted", n)
	}

	t.Log("at the client who sent it hears of it")
	p.left(0)
	for _, pkt := range [][]byte{udp(app4, there4, long), udp(app6, there6, long)} {
		p.send(0, pkt)
		got := p.took(0)
		if len(got) != 1 {
			t.Fatalf("%d packets came back", len(got))
		}
		m, err := wire.ParseICMP(got[0])
		if err != nil || m.Kind != wire.TooBig || m.MTU != 1400 || m.Source.Port() != 4000 {
			t.Errorf("%+v, %v", m, err)
		}
	}
	p.wantPaths(0)
}

// sealed makes the header checksum right again, udp0 the packet that a cut one is made into: with no flags.
func sealed(pkt []byte) []byte {
	var sum wire.Sum
	pkt[10], pkt[11] = 0, 0
	sum.Add(pkt[:20])
	pkt[10], pkt[11] = byte(sum.Checksum()>>8), byte(sum.Checksum())
	return pkt
}

func udp0(pkt []byte) []byte { return sealed(bytes.Clone(pkt)) }

// Fragments that the sender made follow the first one, which has the ports, even if that one moves.
func TestFragmentsStayTogether(t *testing.T) {
	p := newPost(t, 2)
	long := udp(app4, there4, string(make([]byte, 3000)))
	var v wire.Packet
	v.Parse(long)
	p.send(0, udp(app4, there4, "first"))
	p.ends[0].path(0).state.RTTSample(p.now, 300*time.Millisecond)
	for at, next := 0, 0; ; at = next {
		var piece []byte
		piece, next = v.Cut(nil, long, at, 1200, 5)
		p.send(0, piece)
		if next == 0 {
			break
		}
	}
	p.wantPaths(0, 0, 0, 0, 0)
	p.wait(20 * time.Millisecond)
	if got := p.took(1); len(got) != 2 || len(got[1]) != len(long) {
		t.Errorf("%d packets", len(got))
	}
}

// An error of a router is about a packet that has the client's own address, at both ends.
func TestErrorsAreReaddressed(t *testing.T) {
	p := newPost(t, 1)
	ask := udp(app4, there4, "who")
	var v wire.Packet
	v.Parse(ask)
	e := v.AppendTooBig(nil, ask, netip.MustParseAddr("192.0.2.1"), 1300)
	p.send(1, e)
	p.wait(20 * time.Millisecond)
	p.wantPackets(0, e)
	answer := udp(there4, app4, "x")
	v.Parse(answer)
	e = v.AppendTooBig(nil, answer, host4, 1300)
	p.send(0, e)
	p.wait(20 * time.Millisecond)
	p.wantPackets(1, e)
}

// Flows and octets are bounded; what has waited too long does not leave.
func TestDatagramsAreBounded(t *testing.T) {
	p := newPost(t, 2)
	b := p.ends[0]
	b.datagrams.cfg.Queue, b.datagrams.flows.most = 10*datagram.Cost(128), 16
	for i := range 100 {
		b.SendPacket(p.now, udp(netip.AddrPortFrom(host4, uint16(i)), there4, string(make([]byte, 100))))
	}
	if n := b.counters.Datagrams; n.Full != 90 || len(b.datagrams.flows.routes) != 16 || b.path(0).out.Len() != 10 {
		t.Fatalf("%+v, %d flows, %d wait", n, len(b.datagrams.flows.routes), b.path(0).out.Len())
	}
	pkt, _, _ := b.path(0).out.Front()
	var d wire.Datagram
	if d.Parse(pkt); d.Source.Port() != 90 {
		t.Errorf("the one from port %d waits, not the newest ten", d.Source.Port())
	}
	p.now = p.now.Add(datagramWait + 1)
	p.flush()
	p.wantPaths(0)
	if n := b.counters.Datagrams; n.Late != 10 || b.datagrams.queued != 0 || b.path(0).outOctets != 0 {
		t.Errorf("%+v, cost %d, %d octets", n, b.datagrams.queued, b.path(0).outOctets)
	}
	t.Log("at the other end too")
	hub := p.ends[1]
	hub.datagrams.cfg.Queue = 3 * datagram.Cost(100)
	for range 5 {
		p.send(0, udp(app4, there4, string(make([]byte, 60))))
	}
	p.wait(20 * time.Millisecond)
	if n := hub.counters.Datagrams; n.Untaken != 2 || len(p.took(1)) != 3 || hub.datagrams.held != 0 {
		t.Errorf("%+v", n)
	}
}

// A path without addresses of a family does not carry it.
func TestFamilies(t *testing.T) {
	p := newPost(t, 2)
	cfg := p.ends[0].path(0).cfg
	cfg.Peer4 = netip.Addr{}
	p.ends[0].Attach(p.now, 0, cfg)
	p.send(0, udp(app4, there4, "1"), udp(app6, there6, "1"))
	p.wantPaths(0, 0, 1)
	p.ends[0].Detach(p.now, 1)
	p.send(0, udp(app4, there4, "2"))
	if n := p.ends[0].counters.Datagrams.NoPath; n != 1 {
		t.Errorf("%d without a path", n)
	}
}

// Ping has every path tell that it lives, or be told of.
func TestPingTellsOfEachPath(t *testing.T) {
	p := newPost(t, 3)
	p.dead[1] = true
	for range 2 {
		p.ends[0].Ping(p.now)
		p.wait(time.Second)
		var got [3]EventKind
		for e, ok := p.ends[0].NextEvent(); ok; e, ok = p.ends[0].NextEvent() {
			if e.Kind == PathAlive || e.Kind == PathSilent {
				got[e.Path] = e.Kind
			}
		}
		if want := [3]EventKind{PathAlive, PathSilent, PathAlive}; got != want {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}

// In the steady state a packet costs no memory, at either end.
func TestDatagramsDoNotAllocate(t *testing.T) {
	p := newPost(t, 2)
	pkt := udp(app4, there4, string(make([]byte, 1200)))
	var buf [1500]byte
	if n := testing.AllocsPerRun(1000, func() {
		p.ends[0].SendPacket(p.now, pkt)
		id, out, ok := p.ends[0].Transmit(p.now, buf[:])
		if !ok {
			t.Fatal("nothing leaves")
		}
		p.ends[1].Receive(p.now, id, out)
		if _, ok := p.ends[1].NextPacket(); !ok {
			t.Fatal("nothing comes")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
