package datagram

import (
	"encoding/hex"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/clock"
)

func TestGolden(t *testing.T) {
	cfg := ControlConfig{
		VersionMin: 1, VersionMax: 2, Families: IPv4 | IPv6, Features: 0x80000001,
		Limits: Limits{Connections: 4096, Offers: 512, Mappings: 256, Buffered: 1 << 26},
	}
	v4 := OfferID{40000, netip.MustParseAddrPort("192.0.2.7:443")}
	v6 := OfferID{40000, netip.MustParseAddrPort("[2001:db8::7]:443")}
	cases := []struct {
		name string
		got  []byte
		want string
	}{
		{"header", header{1, 2}.append(nil), "544c0100" + "0000000000000001" + "0000000000000002"},
		{"HELLO", appendHello(nil, 1, &cfg), "01010020" + "00000001" + "01020300" + "80000001" + "00001000" + "00000200" + "00000100" + "0000000004000000"},
		{"ACK", (&lanePath{acks: []uint32{1, 9}}).appendAcks(nil, 99), "02010008" + "00000001" + "00000009"},
		{"PING", appendPing(make([]byte, 0, 30), 7, 256, 30), "0301001a" + "00000007" + "0000000000000100" + "0000000000000000000000000000"},
		{"PONG", appendPong(nil, answer{7, 256, 512, 50, 9}, 512+3000), "04010022" + "00000007" + "0000000000000100" + "0000000000000200" + "00000003" + "0032" + "0000000000000009"},
		{"PATH", appendPath(nil, 2, PathState{3, Down, Backup, 1000, 1 << 33, 5}), "0501001c" + "00000002" + "03010200" + "00000000000003e8" + "0000000200000000" + "00000005"},
		{"HELD", appendOffer(nil, &news{kind: held, seq: 3, offer: v4}, 2*time.Millisecond), "06010014" + "00000003" + "000007d0" + "9c4001bb" + "00040000" + "c0000207"},
		{"REFUSED", appendOffer(nil, &news{kind: refused, seq: 4, offer: v6, reason: 3}, 0), "07010020" + "00000004" + "00000000" + "9c4001bb" + "03060000" + "20010db8000000000000000000000007"},
		{"BYE", (*Control)(nil).appendMessage(0, nil, &news{kind: bye, seq: 5, reason: 1}), "08010005" + "00000005" + "01"},
	}
	for _, c := range cases {
		if got := hex.EncodeToString(c.got); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}

// A PATH of a peer that knows no limits says 0, which is none; one that says more than we know is taken for what
// we know; one that says less is none.
func TestPathOfOtherVersions(t *testing.T) {
	want := PathState{ID: 3, State: Down, Role: Backup, LimitUp: 1000, LimitDown: 1 << 33, Price: 5}
	body := appendPath(nil, 2, want)[messageLen:]
	for n := range body {
		if _, err := parsePath(body[:n]); err != ErrMalformed {
			t.Fatalf("%d octets: %v", n, err)
		}
	}
	if got, err := parsePath(append(body, 1, 2, 3, 4)); got != want || err != nil {
		t.Fatalf("%+v %v", got, err)
	}
	if got, err := parsePath(make([]byte, pathLen)); got != (PathState{}) || err != nil {
		t.Fatalf("%+v %v", got, err)
	}
}

// length promises what append needs.
func TestLengths(t *testing.T) {
	c := NewControl(ControlConfig{Epoch: 1})
	c.SetPath(0, PathState{ID: 1})
	for _, m := range []news{{kind: hello}, {kind: pathNews, path: 1}, {kind: bye},
		{kind: held, offer: offer(1)}, {kind: refused, offer: OfferID{1, netip.MustParseAddrPort("[::1]:2")}}} {
		if n := len(c.appendMessage(0, nil, &m)); n != m.length() {
			t.Errorf("type %d: %d octets, not %d", m.kind, n, m.length())
		}
	}
	if n := headerLen + 2*(messageLen+offerLen+16); n > BufferMin {
		t.Errorf("HELLO and an offer need %d", n)
	}
}

func TestOfferIsPlain(t *testing.T) {
	o := OfferID{1, netip.MustParseAddrPort("[::ffff:192.0.2.1]:2")}
	if got := o.plain().Target.String(); got != "192.0.2.1:2" {
		t.Error(got)
	}
	o.Target = netip.MustParseAddrPort("[fe80::1%eth0]:2")
	if got := o.plain().Target.String(); got != "[fe80::1]:2" {
		t.Error(got)
	}
	c := NewControl(ControlConfig{Epoch: 1})
	c.Held(0, OfferID{})
	c.Refused(0, OfferID{}, 0)
	if c.Unacknowledged() != 1 {
		t.Error("told of an offer to nowhere")
	}
}

func FuzzControl(f *testing.F) {
	cfg := ControlConfig{VersionMin: 1, VersionMax: 1}
	seed := appendHello(header{from: 2, to: 1}.append(nil), 1, &cfg)
	f.Add(seed)
	c := NewControl(ControlConfig{Epoch: 2})
	c.SetPath(0, PathState{ID: 1})
	for _, m := range []news{{kind: pathNews, path: 1, seq: 2}, {kind: held, offer: offer(1), seq: 3}, {kind: bye, seq: 4},
		{kind: refused, seq: 5, offer: OfferID{1, netip.MustParseAddrPort("[::1]:2")}}} {
		f.Add(c.appendMessage(0, append([]byte{}, seed...), &m))
	}
	f.Add(append(openMessage(append([]byte{}, seed...), ping, pingLen), make([]byte, pingLen)...))
	f.Add((&lanePath{acks: []uint32{1, 2, 3}}).appendAcks(append([]byte{}, seed...), 500))
	f.Add(appendPong(append([]byte{}, seed...), answer{id: 1}, 0))
	f.Fuzz(func(t *testing.T, msg []byte) {
		c := NewControl(ControlConfig{Epoch: 1})
		c.Attach(0, 1)
		c.Held(0, offer(1))
		c.Ping(0, 1, 0)
		buf := make([]byte, 1500)
		for _, _, ok := c.Transmit(0, buf); ok; _, _, ok = c.Transmit(0, buf) {
		}
		own := len(c.news)
		for now := range clock.Time(2) {
			err := c.Receive(now, 1, msg)
			sent := 0
			for n := 0; ; n++ {
				_, out, ok := c.Transmit(now, buf)
				if !ok {
					break
				}
				if sent += len(out); n > len(msg) {
					t.Fatalf("Transmit does not end (%v)", err)
				}
			}
			if sent > len(msg)+(own+1)*(headerLen+messageLen+offerLen+16) {
				t.Fatalf("%d octets for %d", sent, len(msg))
			}
		}
		for _, ok := c.Next(); ok; _, ok = c.Next() {
		}
		c.Advance(c.Deadline())
	})
}
