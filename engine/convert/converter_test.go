package convert

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/clock"
)

var client4 = netip.MustParseAddr("203.0.113.5")

const connect4 = "01 06 2263 0a 05 " + toServer4

// all is a gate that supports all it can.
func all() *Gate {
	return NewGate(GateConfig{Supported: []uint8{MPTCP, SACKPermitted, Timestamps, FastOpen}})
}

// hears opens a connection on which a client says something, in one piece.
func hears(t *testing.T, g *Gate, now clock.Time, wire string) (*Converter, Verdict) {
	t.Helper()
	c := g.Open(client4)
	v, _ := c.Receive(now, octets(t, wire))
	return c, v
}

func TestRequest(t *testing.T) {
	for _, c := range []struct {
		name, wire string
		want       netip.AddrPort
		options    string
	}{
		{"base", connect4, server4, ""},
		{"IPv6", "01 06 2263 0a 05 " + toServer6, server6, ""},
		{"extended", "01 07 2263 0a 06 " + toServer4 + "1e 02 04 02", server4, "1e 02 04 02"},
		{"what the converter knows better", "01 08 2263 0a 07 " + toServer4 + "02 04 05b4 03 03 07 01", server4, ""},
		{"with a cookie that nobody wanted", "01 08 2263 16 02 0000 c0ffee00 0a 05 " + toServer4, server4, ""},
		{"with Info", "01 07 2263 01 01 0000 0a 05 " + toServer4, server4, ""},
	} {
		g := all()
		converter, v := hears(t, g, 0, c.wire)
		if got := g.Counters(); got.Requests != 1 || got.Infos != map[bool]uint64{true: 1}[c.name == "with Info"] {
			t.Errorf("%s: %+v", c.name, got)
		}
		if r := converter.Request(); v != Dial || r.Target != c.want || !bytes.Equal(r.Options, octets(t, c.options)) || converter.Answer() != nil {
			t.Errorf("%s: %d, %+v", c.name, v, r)
		}
	}
}

// Wherever the request is cut, the converter dials once, and gives the user's data to the server.
func TestConverterInPieces(t *testing.T) {
	request := octets(t, "01 07 2263 0a 06 "+toServer4+"1e 02 04 02")
	stream := append(bytes.Clone(request), "hello"...)
	for at := range len(stream) + 1 {
		g := all()
		c := g.Open(client4)
		v, rest := c.Receive(0, stream[:at])
		if want := at >= len(request); want != (v == Dial) || !want && (v != More || len(rest) > 0) {
			t.Fatalf("%d after %d", v, at)
		}
		v, more := c.Receive(0, stream[at:])
		if got := string(rest) + string(more); v != Dial || got != "hello" || g.Counters().Requests != 1 {
			t.Fatalf("%d, %q, cut at %d", v, got, at)
		}
		if v, more = c.Receive(0, []byte("more")); v != Dial || string(more) != "more" {
			t.Fatalf("%d, %q", v, more)
		}
	}
}

func TestAnswers(t *testing.T) {
	synack := "02 04 05b4 04 02 01 01"
	for _, c := range []struct {
		name, wire, synack, want string
	}{
		{"base, options not known", connect4, "", acceptance},
		{"base", connect4, synack, "01 04 2263 14 03 0000" + synack},
		{"extended, options not known", "01 07 2263 0a 06 " + toServer4 + "1e 02 0000", "", "01 02 2263 14 01 0000"},
		{"extended", "01 07 2263 0a 06 " + toServer4 + "1e 02 0000", synack, "01 04 2263 14 03 0000" + synack},
		{"extended by what is ignored", "01 07 2263 0a 06 " + toServer4 + "02 04 05b4", "", "01 02 2263 14 01 0000"},
		{"with Info", "01 07 2263 01 01 0000 0a 05 " + toServer4, "", "01 03 2263 15 02 0000 1e 04 08 22"},
		{"more than a header holds", connect4, "00*2000", "01 0c 2263 14 0b 0000 00*40"},
	} {
		g := all()
		converter, _ := hears(t, g, 0, c.wire)
		var options []byte
		if c.synack != "" {
			options = octets(t, c.synack)
		}
		if got := converter.Connected(options); !bytes.Equal(got, octets(t, c.want)) {
			t.Errorf("%s: %x", c.name, got)
		}
		if converter.Connected(options) != nil || converter.Failed(0, Failure{}) != nil || g.Pending() != 0 || g.Counters().Connected != 1 {
			t.Errorf("%s: answered twice", c.name)
		}
	}
}

func TestInfo(t *testing.T) {
	g := all()
	c, v := hears(t, g, 0, "01 02 2263 01 01 0000")
	if v != Close || !bytes.Equal(c.Answer(), octets(t, "01 03 2263 15 02 0000 1e 04 08 22")) || g.Counters().Infos != 1 {
		t.Errorf("%d, %x", v, c.Answer())
	}
	if c.Connected(nil) != nil {
		t.Error("connected to nobody")
	}
	if c, _ := hears(t, NewGate(GateConfig{}), 0, "01 02 2263 01 01 0000"); !bytes.Equal(c.Answer(), octets(t, "01 02 2263 15 01 0000")) {
		t.Errorf("%x", c.Answer())
	}
}

// Each fault is answered with one error, and the connection closed.
func TestFaults(t *testing.T) {
	twice := "01 03 2263 01 01 0000 01 01 0000"
	for _, c := range []struct {
		name, wire, want string
	}{
		{"version 0", "00 01 2263", "01 02 2263 1e 01 00 01"},
		{"version 2", "02 09 2263 01 02", "01 02 2263 1e 01 00 01"},
		{"duplicate", twice, "01 05 2263 1e 04 01 00" + twice},
		{"type 0", "01 02 2263 00 01 0000", "01 04 2263 1e 03 02 00 01 02 2263 00 01 0000"},
		{"unknown type", "01 02 2263 63 01 0000", "01 04 2263 1e 03 02 00 01 02 2263 63 01 0000"},
		{"an answer", "01 02 2263 14 01 0000", "01 04 2263 1e 03 02 00 01 02 2263 14 01 0000"},
		{"an announcement", "01 02 2263 15 01 0000", "01 04 2263 1e 03 02 00 01 02 2263 15 01 0000"},
		{"nothing asked", acceptance, "01 03 2263 1e 02 01 00" + acceptance},
		{"TLV across the end", "01 02 2263 0a 05 01bb", "01 04 2263 1e 03 01 00 01 02 2263 0a 05 01bb"},
		{"TLV of length 0", "01 02 2263 01 00 0000", "01 04 2263 1e 03 01 00 01 02 2263 01 00 0000"},
		{"MPTCP with a value", "01 07 2263 0a 06 " + toServer4 + "1e 04 01 81", "01 09 2263 1e 08 01 00 01 07 2263 0a 06" + toServer4 + "1e 04 01 81"},
		{"port 0", "01 06 2263 0a 05 0000 00*10 ffff c0000201", "01 08 2263 1e 07 01 00 01 06 2263 0a 05 0000 00*10 ffff c0000201"},
		{"TCP-AO", "01 07 2263 0a 06 " + toServer4 + "1d 04 0102", "01 02 2263 1e 01 21 1d"},
		{"two unknown options", "01 08 2263 0a 07 " + toServer4 + "1d 04 0102 fd 02 0000", "01 03 2263 1e 02 21 1d fd 000000"},
	} {
		g := all()
		converter, v := hears(t, g, 0, c.wire+" 757365722064617461")
		want := octets(t, c.want)
		if got := converter.Answer(); v != Close || !bytes.Equal(got, want) || g.Counters().Errors[want[6]] != 1 {
			t.Errorf("%s: %d, %x", c.name, v, got)
		}
		if v, _ := converter.Receive(0, octets(t, connect4)); v != Close || g.Counters().Requests != 0 || converter.Connected(nil) != nil {
			t.Errorf("%s: then %d", c.name, v)
		}
	}
}

func TestNoAnswerAtAll(t *testing.T) {
	for _, c := range []struct {
		name, wire string
		want       Verdict
		count      GateCounters
	}{
		{"another protocol", "47455420 2f", Ignore, GateCounters{Ignored: 1}},
		{"Total Length 0", "01 00 2263", Reset, GateCounters{Broken: 1}},
		{"an error", "01 02 2263 1e 01 60 00", Reset, GateCounters{Broken: 1}},
		{"an error beside a request", "01 07 2263 1e 01 60 00 0a 05" + toServer4, Reset, GateCounters{Broken: 1}},
	} {
		g := all()
		converter, v := hears(t, g, 0, c.wire)
		if v != c.want || converter.Answer() != nil || g.Counters() != c.count {
			t.Errorf("%s: %d, %x, %+v", c.name, v, converter.Answer(), g.Counters())
		}
	}
}

// Addresses that nobody may be connected to (RFC 8803 6.2.5).
func TestTargets(t *testing.T) {
	for addr, want := range map[string]Verdict{
		"127.0.0.1": Close, "127.255.255.254": Close, "::1": Close, "224.0.0.1": Close, "239.255.255.255": Close, "ff00::": Close, "ff02::1": Close,
		"255.255.255.255": Close, "0.0.0.0": Close, "::": Close, "192.0.2.1": Dial, "10.0.0.1": Dial, "2001:db8::1": Dial, "128.0.0.1": Dial,
		"223.255.255.255": Dial, "255.255.255.254": Dial,
	} {
		m := Message{Has: HasConnect, Target: netip.AddrPortFrom(netip.MustParseAddr(addr), 443)}
		c := all().Open(client4)
		v, _ := c.Receive(0, m.Append(nil))
		var answer Message
		if v != want || want == Close && (answer.Parse(c.Answer()) != nil || answer.Error.Code != MalformedMessage ||
			!bytes.Equal(answer.Error.Echo(), m.Append(nil))) {
			t.Errorf("%s: %d, %+v", addr, v, answer)
		}
	}
}

func TestServerFails(t *testing.T) {
	for _, c := range []struct {
		f    Failure
		want string
	}{
		{Failure{Code: ConnectionReset}, "01 02 2263 1e 01 60 00"},
		{Unreachable(3), "01 02 2263 1e 01 61 03"},
		{Failure{Code: NetworkFailure}, "01 02 2263 1e 01 41 00"},
		{Delayed(ResourceExceeded, 30*time.Second), "01 02 2263 1e 01 40 1e"},
		{Failure{Code: NotAuthorized}, "01 02 2263 1e 01 20 00"},
	} {
		g := all()
		converter, _ := hears(t, g, 0, connect4)
		if got := converter.Failed(0, c.f); !bytes.Equal(got, octets(t, c.want)) || g.Counters().Errors[c.f.Code] != 1 {
			t.Errorf("%v: %x", c.f.Code, got)
		}
		if v, rest := converter.Receive(0, []byte("user")); v != Close || string(rest) != "user" || g.Pending() != 0 {
			t.Errorf("%v: then %d, %d pending", c.f.Code, v, g.Pending())
		}
		if converter.Connected(nil) != nil || converter.Failed(0, c.f) != nil {
			t.Errorf("%v: answered twice", c.f.Code)
		}
	}
}

// A message that ends before its Total Length is malformed, unless it is none at all.
func TestClientSaysNoMore(t *testing.T) {
	request := octets(t, connect4)
	for n := range len(request) + 1 {
		g := all()
		c := g.Open(client4)
		c.Receive(0, request[:n])
		want := Close
		switch {
		case n < HeaderLen:
			want = Ignore
		case n == len(request):
			want = Dial
		}
		v := c.EOF(0)
		var m Message
		if got := g.Counters().Ignored; got != map[bool]uint64{true: 1}[want == Ignore] {
			t.Errorf("after %d octets: %d ignored", n, got)
		}
		if v != want || want == Close && (m.Parse(c.Answer()) != nil || m.Error.Code != MalformedMessage ||
			!bytes.HasPrefix(m.Error.Echo(), request[:n])) {
			t.Errorf("after %d octets: %d, %x", n, v, c.Answer())
		}
	}
}
