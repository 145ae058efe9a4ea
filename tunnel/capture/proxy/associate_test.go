package proxy

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/wire"
	"tandem/tunnel/packet"
)

// associated is a client with a socket for datagrams.
type associated struct {
	t       *testing.T
	control net.Conn
	socket  *net.UDPConn // connected to the proxy's
}

func associate(t *testing.T, at string) associated {
	control, err := net.Dial("tcp", at)
	must(t, err)
	t.Cleanup(func() { control.Close() })
	_, err = control.Write([]byte("\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00"))
	must(t, err)
	answer := make([]byte, 12)
	_, err = io.ReadFull(control, answer)
	must(t, err)
	if !bytes.HasPrefix(answer, []byte("\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01")) {
		t.Fatalf("answered %x", answer)
	}
	socket, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: answer[6:10], Port: int(answer[10])<<8 | int(answer[11])})
	must(t, err)
	t.Cleanup(func() { socket.Close() })
	must(t, socket.SetDeadline(time.Now().Add(10*time.Second)))
	return associated{t, control, socket}
}

func (a associated) send(header string, payload []byte) {
	a.t.Helper()
	_, err := a.socket.Write(append([]byte(header), payload...))
	must(a.t, err)
}

const (
	to4    = "\x00\x00\x00\x01\xc0\x00\x02\x01\x00\x35"
	toName = "\x00\x00\x00\x03\x0bone.example\x00\x35"
)

var to6 = "\x00\x00\x00\x04" + string(netip.MustParseAddr("2001:db8::1").AsSlice()) + "\x00\x35"

// lane starts a proxy whose packets come out of the channel.
func lane(t *testing.T) (*Proxy, string, chan []byte) {
	out := make(chan []byte, 100)
	p, at := start(t, func(c *Config) {
		c.Packets = func(pkts [][]byte) {
			for _, pkt := range pkts {
				out <- bytes.Clone(pkt)
			}
		}
	})
	return p, at, out
}

// Datagrams go out as packets of the host's, and what comes back finds the client, named by its source.
func TestAssociate(t *testing.T) {
	p, at, out := lane(t)
	a := associate(t, at)
	port := uint16(a.socket.RemoteAddr().(*net.UDPAddr).Port)
	for _, c := range []struct{ header, source, target, back string }{
		{to4, "198.18.0.2", "192.0.2.1", to4}, {to6, "fd00::2", "2001:db8::1", to6}, {toName, "198.18.0.2", "192.0.2.1", to4},
		{toName, "198.18.0.2", "192.0.2.1", to4}, // from memory
	} {
		a.send(c.header, []byte("question"))
		var q packet.Packet
		must(t, q.Parse(<-out))
		from, to, payload, err := q.UDP()
		if err != nil || from != port || to != 53 || string(payload) != "question" || q.Source.String() != c.source || q.Target.String() != c.target {
			t.Fatalf("%+v, %v", q, err)
		}
		back := packet.Packet{Source: q.Target, Target: q.Source}
		p.Inject([][]byte{back.AppendUDP(nil, to, from, []byte("answer"))})
		b := make([]byte, 100)
		n, err := a.socket.Read(b)
		if must(t, err); string(b[:n]) != c.back+"answer" {
			t.Errorf("the client got %q, want %q", b[:n], c.back+"answer")
		}
	}
}

// Datagrams longer than the MTU go in fragments and are put together when they come.
func TestFragments(t *testing.T) {
	p, at, out := lane(t)
	a := associate(t, at)
	long := bytes.Repeat([]byte("0123456789"), 300)
	for _, header := range []string{to4, to6} {
		a.send(header, long)
		var assembly packet.Assembly
		var whole []byte
		for n := 0; whole == nil; n++ {
			pkt := <-out
			var q packet.Packet
			must(t, q.Parse(pkt))
			if len(pkt) > 1280 || !q.Fragment() || n > 3 {
				t.Fatalf("%d octets: %+v", len(pkt), q)
			}
			whole = assembly.Add(&q, time.Now())
		}
		var q packet.Packet
		must(t, q.Parse(whole))
		from, to, payload, err := q.UDP()
		if err != nil || !bytes.Equal(payload, long) {
			t.Fatalf("%d octets, %v", len(payload), err)
		}
		back := packet.Packet{Source: q.Target, Target: q.Source}
		must(t, back.Parse(back.AppendUDP(nil, to, from, long)))
		back.ID = 77
		all, ends := back.AppendFragments(nil, nil, 1280)
		for i, at := 0, 0; i < len(ends); i++ {
			p.Inject([][]byte{all[at:ends[i]]})
			at = ends[i]
		}
		b := make([]byte, 4000)
		n, err := a.socket.Read(b)
		if must(t, err); string(b[:n]) != header+string(long) {
			t.Errorf("the client got %d octets", n)
		}
	}
}

// What is no datagram of the client's is dropped and counted, and nothing follows the end of its connection.
func TestDatagramsDropped(t *testing.T) {
	p, at, out := lane(t)
	a := associate(t, at)
	a.send(to4, []byte("first")) // from now on it is known
	<-out
	stranger, err := net.DialUDP("udp", nil, a.socket.RemoteAddr().(*net.UDPAddr))
	must(t, err)
	defer stranger.Close()
	_, err = stranger.Write([]byte(to4 + "not me"))
	must(t, err)
	for _, bad := range []string{"", "\x00\x00", "\x00\x00\x01\x01\xc0\x00\x02\x01\x00\x35fragment", "\x00\x00\x00\x01\xc0\x00\x02",
		"\x00\x00\x00\x02\xc0\x00\x02\x01\x00\x35", "\x00\x00\x00\x03\xffshort", "\x00\x00\x00\x01\xc0\x00\x02\x01\x00\x00no port"} {
		a.send(bad, nil)
	}
	a.send(to4, []byte("last"))
	var q packet.Packet
	must(t, q.Parse(<-out))
	if _, _, payload, _ := q.UDP(); string(payload) != "last" {
		t.Errorf("%q went on", payload)
	}
	port := uint16(a.socket.RemoteAddr().(*net.UDPAddr).Port)
	host, far := netip.MustParseAddr("198.18.0.2"), netip.MustParseAddr("192.0.2.1")
	back := packet.Packet{Source: far, Target: host}
	other := packet.Packet{Source: far, Target: far}
	before := p.Counters().Dropped
	if before != 8 {
		t.Errorf("%d dropped, want 8", before)
	}
	p.Inject([][]byte{nil, back.AppendUDP(nil, 53, port+1, nil), other.AppendUDP(nil, 53, port, nil),
		back.AppendEcho(nil, packet.Echo{}), (&packet.Packet{Source: far, Target: host, Protocol: wire.TCP}).Append(nil)})
	if n := p.Counters().Dropped - before; n != 5 {
		t.Errorf("%d dropped, want 5", n)
	}
	a.control.(*net.TCPConn).CloseWrite()
	io.ReadAll(a.control)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.associations) > 0 {
		t.Error("the association outlives its connection")
	}
}
