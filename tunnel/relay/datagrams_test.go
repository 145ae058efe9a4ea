package relay

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tandem/engine/wire"
	"tandem/tunnel/packet"
)

var (
	host4, hub4 = netip.MustParseAddr("198.18.0.2"), netip.MustParseAddr("198.18.0.1")
	host6, hub6 = netip.MustParseAddr("fd00::2"), netip.MustParseAddr("fd00::1")
	web4, web6  = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
)

// A fakeSocket is a socket whose world is the test.
type fakeSocket struct {
	key      key
	sent     []sent
	err      error
	arrivals chan arrival
	closed   chan struct{}
}

type sent struct {
	text   string
	target netip.AddrPort
	hop    hop
}

func (s *fakeSocket) send(message []byte, target netip.AddrPort, h hop) error {
	if s.err == nil {
		s.sent = append(s.sent, sent{string(message), target, h})
	}
	return s.err
}

func (s *fakeSocket) read(max int, each func(*arrival)) error {
	select {
	case a := <-s.arrivals:
		each(&a)
		return nil
	case <-s.closed:
		return os.ErrClosed
	}
}

func (s *fakeSocket) close() { close(s.closed) }

// A lane is Datagrams in a bubble: the client's end, and every socket that was ever opened.
type lane struct {
	*Datagrams
	t       *testing.T
	sockets []*fakeSocket
	heard   [][]byte // by the client
	opening error
}

func inBubble(t *testing.T, cfg DatagramsConfig, story func(l *lane)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lane{t: t}
		cfg.Host4, cfg.Host6, cfg.Hub4, cfg.Hub6 = host4, host6, hub4, hub6
		cfg.Send = func(pkts [][]byte) {
			for _, pkt := range pkts {
				l.heard = append(l.heard, bytes.Clone(pkt))
			}
		}
		l.Datagrams = newDatagrams(cfg, func(k key) (socket, error) {
			if l.opening != nil {
				return nil, l.opening
			}
			s := &fakeSocket{key: k, arrivals: make(chan arrival, 100), closed: make(chan struct{})}
			l.sockets = append(l.sockets, s)
			return s, nil
		})
		defer l.Close()
		story(l)
	})
}

// from is what the client sends a packet with.
func from(target netip.Addr) *packet.Packet {
	p := &packet.Packet{Source: host4, Target: target, TTL: 64, TOS: 0xb9, DF: true}
	if target.Is6() {
		p.Source = host6
	}
	return p
}

func (l *lane) receive(pkt []byte) []byte {
	l.Receive([][]byte{pkt})
	synctest.Wait()
	return pkt
}

func (l *lane) udp(source uint16, target netip.AddrPort, text string) []byte {
	return l.receive(from(target.Addr()).AppendUDP(nil, source, target.Port(), []byte(text)))
}

// next is the packet that the client has heard and not looked at yet.
func (l *lane) next() packet.Packet {
	l.t.Helper()
	synctest.Wait()
	var p packet.Packet
	if len(l.heard) == 0 {
		l.t.Fatal("nothing heard")
	}
	if err := p.Parse(l.heard[0]); err != nil {
		l.t.Fatal(err)
	}
	l.heard = l.heard[1:]
	return p
}

func (l *lane) silence() {
	l.t.Helper()
	synctest.Wait()
	if len(l.heard) > 0 {
		l.t.Fatalf("heard %x", l.heard)
	}
}

// wantError expects an ICMP error that quotes about.
func (l *lane) wantError(from netip.Addr, kind packet.Kind, about []byte) packet.Packet {
	l.t.Helper()
	p := l.next()
	checkError(l.t, p, from, kind, about)
	return p
}

func checkError(t *testing.T, p packet.Packet, from netip.Addr, kind packet.Kind, about []byte) {
	t.Helper()
	if p.Protocol != wire.ICMPv4 && p.Protocol != wire.ICMPv6 || p.Source != from || p.Target != host4 && p.Target != host6 {
		t.Fatalf("heard %+v, not from %v", p, from)
	}
	if got := packet.KindOf(from.Is4(), p.Body[0], p.Body[1]); got != kind {
		t.Fatalf("kind %d, want %d", got, kind)
	}
	if quote := p.Body[8:]; len(quote) < min(len(about), 28) || !bytes.HasPrefix(about, quote) {
		t.Fatalf("quoted %x of %x", quote, about)
	}
}

func (s *fakeSocket) hears(from netip.AddrPort, text string) {
	s.arrivals <- arrival{from: from, payload: []byte(text), tos: 0x2e, ttl: 50}
	synctest.Wait()
}

func at(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

// One port of the client is one socket, whomever it sends to; what is sent keeps TOS and DF and is a hop older.
func TestMapping(t *testing.T) {
	for _, web := range []netip.Addr{web4, web6} {
		inBubble(t, DatagramsConfig{}, func(l *lane) {
			l.udp(4000, at(web, 443), "one")
			l.udp(4000, at(web.Next(), 9), "two")
			l.udp(4001, at(web, 443), "three")
			if len(l.sockets) != 2 || l.sockets[0].key != (key{v4: web.Is4(), number: 4000}) {
				t.Fatalf("%d sockets", len(l.sockets))
			}
			want := hop{tos: 0xb9, ttl: 63, df: true}
			if got := l.sockets[0].sent; len(got) != 2 || got[0] != (sent{"one", at(web, 443), want}) || got[1] != (sent{"two", at(web.Next(), 9), want}) {
				t.Errorf("sent %+v", got)
			}
			l.sockets[0].hears(at(web, 443), "answer")
			p := l.next()
			source, target, payload, err := p.UDP()
			if err != nil || p.Source != web || source != 443 || target != 4000 || string(payload) != "answer" || p.TOS != 0x2e || p.TTL != 49 {
				t.Errorf("heard %+v, %q, %v", p, payload, err)
			}
			s := l.Stats()
			if s.Mappings != 2 || s.Sent != 3 || s.SentOctets != 11 || s.Received != 1 || s.ReceivedOctets != 6 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// Only whom the client has sent to gets through, from whatever port.
func TestFiltering(t *testing.T) {
	inBubble(t, DatagramsConfig{}, func(l *lane) {
		l.udp(4000, at(web4, 443), "one")
		l.sockets[0].hears(at(web4, 444), "another port")
		l.next()
		l.sockets[0].hears(at(web4.Next(), 443), "another host")
		l.silence()
		if s := l.Stats(); s.Filtered != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// Whom the client has not sent to for two lifetimes is filtered again, while the mapping lives on.
func TestFilterForgets(t *testing.T) {
	inBubble(t, DatagramsConfig{}, func(l *lane) {
		l.udp(4000, at(web4, 443), "once")
		for range 5 {
			time.Sleep(time.Minute)
			l.udp(4000, at(web4.Next(), 443), "often")
		}
		l.sockets[0].hears(at(web4, 443), "late")
		l.silence()
		l.sockets[0].hears(at(web4.Next(), 443), "in time")
		l.next()
	})
}

func TestLifetimes(t *testing.T) {
	for _, c := range []struct {
		what string
		send func(l *lane)
		life time.Duration
	}{
		{"UDP", func(l *lane) { l.udp(4000, at(web4, 443), "x") }, 120 * time.Second},
		{"DNS", func(l *lane) { l.udp(4000, at(web4, 53), "x") }, 30 * time.Second},
		{"DNS and more", func(l *lane) { l.udp(4000, at(web4, 53), "x"); l.udp(4000, at(web4, 443), "x") }, 120 * time.Second},
		{"echo", func(l *lane) { l.receive(from(web4).AppendEcho(nil, packet.Echo{ID: 1})) }, 60 * time.Second},
	} {
		inBubble(t, DatagramsConfig{}, func(l *lane) {
			c.send(l)
			time.Sleep(c.life - time.Second)
			c.send(l) // begins anew
			time.Sleep(c.life - time.Second)
			if len(l.sockets) != 1 || l.Stats().Mappings != 1 {
				t.Errorf("%s: over early", c.what)
			}
			time.Sleep(sweeping + time.Second)
			synctest.Wait()
			if l.Stats().Mappings != 0 {
				t.Errorf("%s: not over after %v", c.what, c.life)
			}
			c.send(l)
			if len(l.sockets) != 2 {
				t.Errorf("%s: nothing new was opened", c.what)
			}
		})
	}
}

// What comes in keeps a mapping too.
func TestHearingKeepsAMapping(t *testing.T) {
	inBubble(t, DatagramsConfig{}, func(l *lane) {
		l.udp(4000, at(web4, 443), "x")
		for range 10 {
			time.Sleep(time.Minute)
			l.sockets[0].hears(at(web4, 443), "x")
		}
		if len(l.heard) != 10 || l.Stats().Mappings != 1 {
			t.Errorf("heard %d, %d mappings", len(l.heard), l.Stats().Mappings)
		}
	})
}

func TestMappingsAreBounded(t *testing.T) {
	inBubble(t, DatagramsConfig{Mappings: 16}, func(l *lane) {
		for port := range uint16(16) {
			l.udp(1000+port, at(web4, 443), "x")
			time.Sleep(time.Millisecond)
		}
		l.udp(1000, at(web4, 443), "again") // no longer the longest idle
		l.udp(2000, at(web4, 443), "new")
		if s := l.Stats(); s.Mappings != 15 || s.Evicted != 2 {
			t.Errorf("%+v", s)
		}
		l.udp(1000, at(web4, 443), "still")
		l.udp(1001, at(web4, 443), "dropped before")
		if len(l.sockets) != 18 || len(l.sockets[0].sent) != 3 {
			t.Errorf("%d sockets, %d sent", len(l.sockets), len(l.sockets[0].sent))
		}
	})
}

// What goes no further is answered, by the hub, with what the client sent.
func TestAnswers(t *testing.T) {
	for _, v4 := range []bool{true, false} {
		web, hub := web6, hub6
		if v4 {
			web, hub = web4, hub4
		}
		old := from(web)
		old.TTL = 1
		other := from(web)
		other.Protocol, other.Body = 47, []byte("GRE, say")
		for _, c := range []struct {
			what string
			pkt  []byte
			want packet.Kind
		}{
			{"at the end of its life", old.AppendUDP(nil, 1, 33434, []byte("trace")), packet.Expired},
			{"an echo at the end of its life", old.AppendEcho(nil, packet.Echo{ID: 1}), packet.Expired},
			{"another protocol", other.Append(nil), packet.NoProtocol},
			{"a port of the hub", from(hub).AppendUDP(nil, 1, 99, nil), packet.NoPort},
			{"a name, of a hub without names", from(hub).AppendUDP(nil, 1, 53, nil), packet.NoPort},
			{"not allowed", from(web).AppendUDP(nil, 1, 25, nil), packet.Prohibited},
		} {
			cfg := DatagramsConfig{Reach: func(network string, target netip.AddrPort) error {
				if network != "udp" || target != at(web, 25) {
					return errors.New("asked for something else")
				}
				return fmt.Errorf("port 25: %w", os.ErrPermission)
			}}
			inBubble(t, cfg, func(l *lane) {
				l.wantError(hub, c.want, l.receive(c.pkt))
				l.silence()
				if len(l.sockets) > 0 {
					t.Errorf("%s: a socket was opened", c.what)
				}
			})
		}
	}
}

func TestSendFailures(t *testing.T) {
	for _, c := range []struct {
		err  error
		want packet.Kind // 0: silence
	}{
		{syscall.ENETUNREACH, packet.NoNet}, {syscall.EHOSTUNREACH, packet.NoHost}, {syscall.EACCES, packet.Prohibited},
		{syscall.EAGAIN, 0}, {syscall.ENOBUFS, 0},
	} {
		inBubble(t, DatagramsConfig{}, func(l *lane) {
			l.udp(4000, at(web4, 443), "x")
			l.sockets[0].err = os.NewSyscallError("sendmsg", c.err)
			pkt := l.udp(4000, at(web4, 443), "y")
			if c.want != 0 {
				l.wantError(hub4, c.want, pkt)
			}
			l.silence()
			if s := l.Stats(); s.Failed != 1 || s.Sent != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// Where echo is not permitted at all who asks is told so, by the hub; nothing is said where a port is not.
func TestNoSocket(t *testing.T) {
	inBubble(t, DatagramsConfig{}, func(l *lane) {
		l.opening = syscall.EPERM
		l.wantError(hub4, packet.Prohibited, l.receive(from(web4).AppendEcho(nil, packet.Echo{ID: 1})))
		l.wantError(hub6, packet.Prohibited, l.receive(from(web6).AppendEcho(nil, packet.Echo{ID: 1})))
		l.opening = errFiles
		l.receive(from(web4).AppendEcho(nil, packet.Echo{ID: 1}))
		l.opening = syscall.EPERM
		l.udp(1000, at(web4, 443), "x")
		l.silence()
		if s := l.Stats(); s.Failed != 4 || s.Mappings != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// An error from outside quotes the packet that it is about, as the client sent it.
func TestErrorsFromOutside(t *testing.T) {
	router := netip.MustParseAddr("203.0.113.9")
	inBubble(t, DatagramsConfig{}, func(l *lane) {
		first := l.udp(4000, at(web4, 33434), "probe 1")
		second := l.udp(4000, at(web4, 33435), "probe 2")
		third := l.udp(4000, at(web4, 33434), "probe 3")
		s := l.sockets[0]
		s.arrivals <- arrival{from: at(web4, 33435), why: packet.Expired, offender: router}
		l.wantError(router, packet.Expired, second)
		s.arrivals <- arrival{from: at(web4, 33434), payload: []byte("probe 1"), why: packet.NoHost, offender: router}
		l.wantError(router, packet.NoHost, first)
		s.arrivals <- arrival{from: at(web4, 33434), payload: []byte("pro"), why: packet.TooBig, mtu: 1400}
		if p := l.wantError(hub4, packet.TooBig, third); p.Body[6] != 1400>>8 || p.Body[7] != 1400&0xff {
			t.Errorf("MTU %x", p.Body[6:8])
		}
		s.arrivals <- arrival{from: at(web4, 9), why: packet.NoPort, offender: web4}
		s.arrivals <- arrival{from: at(web4, 33434), payload: []byte("forged"), why: packet.NoPort, offender: web4}
		l.silence()
	})
}

func TestEcho(t *testing.T) {
	for _, web := range []netip.Addr{web4, web6} {
		inBubble(t, DatagramsConfig{}, func(l *lane) {
			pkt := l.receive(from(web).AppendEcho(nil, packet.Echo{ID: 7, Seq: 1, Payload: []byte("ping")}))
			l.receive(from(web.Next()).AppendEcho(nil, packet.Echo{ID: 7, Seq: 2, Payload: []byte("ping")}))
			l.receive(from(web).AppendEcho(nil, packet.Echo{ID: 8, Seq: 1}))
			if len(l.sockets) != 2 {
				t.Fatalf("%d sockets", len(l.sockets))
			}
			s := l.sockets[0]
			if s.sent[0].target != at(web, 0) || s.sent[0].text[4:] != "\x00\x07\x00\x01ping" {
				t.Errorf("sent %+v", s.sent[0])
			}
			s.hears(at(web, 0), "\x00\x00\xff\xff\xab\xcd\x00\x01ping")
			p := l.next()
			if e, err := p.Echo(); err != nil || !e.Reply || e.ID != 7 || e.Seq != 1 || string(e.Payload) != "ping" || p.Source != web {
				t.Errorf("heard %+v, %v", e, err)
			}
			s.arrivals <- arrival{from: at(web, 0), payload: []byte("\x00\x01pi"), why: packet.Expired, offender: web.Next()}
			l.wantError(web.Next(), packet.Expired, pkt)
			s.hears(at(web, 0), "short")
			l.silence()
		})
	}
}

// A device that others leave no more files makes do with those it has, and gives all back in the end.
func TestMappingsTakeFiles(t *testing.T) {
	var files atomic.Int64
	files.Store(3)
	cfg := DatagramsConfig{
		Take: func() bool {
			ok := files.Load() > 0
			if ok {
				files.Add(-1)
			}
			return ok
		},
		Give: func() { files.Add(1) },
	}
	inBubble(t, cfg, func(l *lane) {
		for port := range uint16(5) {
			l.udp(1000+port, at(web4, 443), "x")
			time.Sleep(time.Millisecond)
		}
		if s := l.Stats(); s.Sent != 5 || s.Mappings != 3 || s.Evicted != 2 || files.Load() != 0 {
			t.Errorf("%+v, %d files left", s, files.Load())
		}
		time.Sleep(2 * lifeUDP)
		synctest.Wait()
		if files.Load() != 3 {
			t.Errorf("%d files left when all was over", files.Load())
		}
		l.opening = syscall.EMFILE
		l.udp(1000, at(web4, 443), "x")
		if files.Load() != 3 {
			t.Errorf("%d files left when none could be opened", files.Load())
		}
		l.opening = nil
		files.Store(0)
		l.udp(1000, at(web4, 443), "x")
		if s := l.Stats(); s.Mappings != 0 || s.Failed != 2 {
			t.Errorf("%+v without any file", s)
		}
		l.silence()
	})
}

// Who is remembered to be wanted is bounded over all mappings, and who is spoken with is not forgotten.
func TestContactsAreBounded(t *testing.T) {
	inBubble(t, DatagramsConfig{}, func(l *lane) {
		const others = 200
		for port := range uint16(others) {
			l.udp(1000+port, at(web4, 443), "x")
		}
		addr := web4
		for range 3000 {
			addr = addr.Next()
			l.udp(999, at(addr, 443), "x")
		}
		m := l.mappings[key{v4: true, number: 999}]
		if kept := len(m.young) + len(m.old); kept > 2*contactsAll/others || kept < contactsAll/others/2 {
			t.Errorf("%d contacts are kept", kept)
		}
	})
	m := newMapping(key{v4: true}, nil, time.Now())
	for _, addr := range []netip.Addr{web4, web4.Next(), web4, web4, web4.Next()} {
		m.sends(time.Now(), at(addr, 443), nil, 0, 2)
	}
	if len(m.young) != 2 || m.old != nil {
		t.Errorf("forgets for nothing: %d young, %d old", len(m.young), len(m.old))
	}
}

// The hub answers echoes itself, however long they are.
func TestEchoOfTheHub(t *testing.T) {
	inBubble(t, DatagramsConfig{}, func(l *lane) {
		l.receive(from(hub6).AppendEcho(nil, packet.Echo{ID: 7, Seq: 9, Payload: []byte("you?")}))
		p := l.next()
		if e, err := p.Echo(); err != nil || !e.Reply || e.ID != 7 || e.Seq != 9 || string(e.Payload) != "you?" || p.Source != hub6 {
			t.Errorf("heard %+v, %v", e, err)
		}
		long := from(hub4).AppendEcho(nil, packet.Echo{ID: 7, Payload: make([]byte, 3000)})
		l.receive(long)
		if p := l.next(); p.Fragment() || len(p.Body) != 3008 {
			t.Errorf("heard %+v", p)
		}
		l.silence()
	})
}

func TestDNS(t *testing.T) {
	cfg := DatagramsConfig{DNS: func(ctx context.Context, query []byte) []byte {
		switch string(query) {
		case "slow":
			<-ctx.Done()
			return nil
		case "unknown":
			return nil
		}
		return append([]byte("answer to "), query...)
	}}
	inBubble(t, cfg, func(l *lane) {
		l.udp(4000, at(hub4, 53), "slow")
		l.udp(4001, at(hub4, 53), "unknown")
		l.udp(4002, at(hub4, 53), "this")
		p := l.next()
		source, target, payload, err := p.UDP()
		if err != nil || p.Source != hub4 || source != 53 || target != 4002 || string(payload) != "answer to this" {
			t.Errorf("heard %q, %v", payload, err)
		}
		l.silence()
		for range queries + 10 {
			l.udp(4000, at(hub4, 53), "slow")
		}
		if s := l.Stats(); s.QueueFull != 11 {
			t.Errorf("%+v", s)
		}
	})
}

func TestMalformed(t *testing.T) {
	foreign, first, last := from(web4), from(web4), from(web6)
	first.More, first.TTL, first.Protocol, first.Body = true, 1, wire.UDP, make([]byte, 16)
	last.Offset, last.ID, last.Protocol, last.Body = 16, 7, 47, []byte("GRE, say")
	foreign.Source = netip.MustParseAddr("198.18.0.77")
	broken := from(web4).AppendUDP(nil, 1, 2, []byte("abc"))
	broken[len(broken)-1] ^= 1
	for _, pkt := range [][]byte{
		nil, []byte("nonsense"), broken,
		foreign.AppendUDP(nil, 1, 2, nil), first.Append(nil), last.Append(nil),
		from(web4).AppendUDP(nil, 1, 0, nil),
		from(web4).AppendEcho(nil, packet.Echo{Reply: true}),
	} {
		inBubble(t, DatagramsConfig{}, func(l *lane) {
			l.receive(pkt)
			l.silence()
			if s := l.Stats(); s.Malformed != 1 || len(l.sockets) > 0 {
				t.Errorf("%x: %+v", pkt, s)
			}
		})
	}
}

// Whole packets go both ways, however long: the bond cuts them. Outside IPv6 may be cut if it was before, IPv4 if it says so.
func TestLongDatagrams(t *testing.T) {
	for _, c := range []struct {
		web    netip.Addr
		df     bool
		octets int // of the packet
		uncut  bool
	}{
		{web4, true, 4000, true}, {web4, false, 4000, false}, {web4, false, 100, false},
		{web6, true, 1400, true}, {web6, true, 1401, false},
	} {
		inBubble(t, DatagramsConfig{MTU: 1400}, func(l *lane) {
			p := from(c.web)
			p.DF = c.df
			text := string(make([]byte, c.octets-p.HeaderLen()-8))
			l.receive(p.AppendUDP(nil, 4000, 443, []byte(text)))
			want := sent{text, at(c.web, 443), hop{tos: 0xb9, ttl: 63, df: c.uncut}}
			if s := l.sockets[0].sent; len(s) != 1 || s[0] != want {
				t.Errorf("%v, %d octets: sent with %+v", c.web, c.octets, s[0].hop)
			}
			l.sockets[0].hears(at(c.web, 443), text)
			if p := l.next(); p.Fragment() || len(p.Body) != 8+len(text) {
				t.Errorf("heard %d octets of %d", len(p.Body), 8+len(text))
			}
			l.silence()
		})
	}
}

// Receive never waits: what is too much is dropped and counted.
func TestQueueIsBounded(t *testing.T) {
	for _, n := range []int{1000, 10} {
		inBubble(t, DatagramsConfig{}, func(l *lane) {
			stuck := make(chan struct{})
			open := l.open
			l.open = func(k key) (socket, error) { <-stuck; return open(k) }
			pkt := from(web4).AppendUDP(nil, 1, 2, make([]byte, n))
			for range 10000 {
				l.Receive([][]byte{pkt})
			}
			if l.octets.Load() > queueOctets || l.Stats().QueueFull < 10000-queuePackets-1 {
				t.Errorf("%d octets wait, %+v", l.octets.Load(), l.Stats())
			}
			close(stuck)
			synctest.Wait()
			if s := l.Stats(); s.Sent+s.QueueFull != 10000 || l.octets.Load() != 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// mend makes an IPv4 header's checksum right, so that fuzzing gets past it.
func mend(pkt []byte) []byte {
	if len(pkt) < 20 || pkt[0] != 0x45 {
		return pkt
	}
	pkt = bytes.Clone(pkt)
	pkt[10], pkt[11] = 0, 0
	var s wire.Sum
	s.Add(pkt[:20])
	binary.BigEndian.PutUint16(pkt[10:], s.Checksum())
	return pkt
}

// No packet panics, and what is said about it is a packet.
func FuzzReceive(f *testing.F) {
	f.Add(from(web4).AppendUDP(nil, 1, 2, []byte("x")), []byte("y"), uint8(0))
	f.Add(from(web6).AppendEcho(nil, packet.Echo{ID: 1}), []byte("12345678"), uint8(packet.Expired))
	f.Fuzz(func(t *testing.T, pkt, back []byte, why uint8) {
		var last *fakeSocket
		d := &Datagrams{counts: counts{}, mappings: map[key]*mapping{}}
		d.cfg = DatagramsConfig{Host4: host4, Host6: host6, Hub4: hub4, Hub6: hub6, Mappings: 4, MTU: 1280}
		d.cfg.Take, d.cfg.Give = func() bool { return true }, func() {}
		d.cfg.Send = func(pkts [][]byte) {
			for _, pkt := range pkts {
				if err := new(packet.Packet).Parse(pkt); err != nil {
					t.Fatalf("%v: %x", err, pkt)
				}
			}
		}
		d.batches.New = func() any { return new(batch) }
		d.open = func(k key) (socket, error) {
			last = &fakeSocket{key: k, closed: make(chan struct{})}
			return last, nil
		}
		d.forward(mend(pkt))
		for _, m := range d.mappings {
			b := new(batch)
			a := arrival{from: last.sent[0].target, payload: back, why: packet.Kind(why % 8), offender: web4}
			d.arrive(b, m, &a)
			d.deliver(b)
			d.drop(m.key, m)
		}
		d.running.Wait()
	})
}
