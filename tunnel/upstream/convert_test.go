package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tandem/engine/clock"
	"tandem/engine/convert"
	"tandem/tunnel/relay"
)

// capable are the options of the SYN/ACK of a server that speaks Multipath TCP (RFC 8684 3.1).
var capable = []byte{30, 12, 0x01, 0x01, 1, 2, 3, 4, 5, 6, 7, 8}

// A machine is a converter that answers as a function says.
type machine struct {
	gate   *convert.Gate
	now    func() clock.Time
	answer func(c *convert.Converter, now clock.Time) []byte
}

// serve is a host's script: it reads a message and answers it, and what follows is the server's.
func (m *machine) serve(h *host) {
	c := m.gate.Open(addressOf(h.RemoteAddr()))
	defer c.End()
	buf := make([]byte, 1)
	verdict := convert.More
	for verdict == convert.More {
		if _, err := h.Read(buf); err != nil {
			return
		}
		verdict, _ = c.Receive(m.now(), buf)
	}
	switch verdict {
	case convert.Dial:
		h.says(m.answer(c, m.now())...)
		h.says([]byte("data")...)
	case convert.Close:
		h.says(c.Answer()...)
	}
	h.CloseWrite()
	h.ended()
}

func newMachine(cfg convert.GateConfig, answer func(*convert.Converter, clock.Time) []byte) *machine {
	return &machine{convert.NewGate(cfg), clock.System(), answer}
}

// connects answers that the server has accepted, with those options.
func connects(options []byte) func(*convert.Converter, clock.Time) []byte {
	return func(c *convert.Converter, _ clock.Time) []byte { return c.Connected(options) }
}

func fails(why error) func(*convert.Converter, clock.Time) []byte {
	return func(c *convert.Converter, now clock.Time) []byte {
		return c.Failed(now, convert.FailureOf(why, target4.Addr()))
	}
}

func newConverter(n *network, multipath bool) *Convert {
	return NewConvert(ConvertConfig{
		Converter: func() netip.AddrPort { return there }, Open: n.openOver, Path: n.path, Multipath: func(relay.Stream) bool { return multipath },
		Rode: n.rode,
	})
}

var supports = convert.GateConfig{Supported: []uint8{convert.MPTCP}}

func TestConvertConnects(t *testing.T) {
	n := newNetwork(t)
	asked := make(chan convert.Request, 1)
	n.hosts[there] = newMachine(supports, func(c *convert.Converter, _ clock.Time) []byte {
		asked <- c.Request()
		return c.Connected(nil)
	}).serve
	speaks(t, dial(t, newConverter(n, true)))
	if r := <-asked; r.Target != target4 || !r.Options.Has(convert.MPTCP) {
		t.Errorf("asked for %+v", r)
	}
}

// What is known of the server's SYN/ACK decides on the next connection: it goes past the converter, and as long as the
// server speaks Multipath TCP there, those after it too.
func TestConvertBypass(t *testing.T) {
	for _, direct := range []bool{true, false} {
		n := newNetwork(t)
		n.hosts[there] = newMachine(supports, connects(capable)).serve
		n.hosts[target4] = func(h *host) { h.says([]byte("data")...); h.ended() }
		c := newConverter(n, direct)
		for range 3 {
			speaks(t, dial(t, c))
		}
		want := []netip.AddrPort{there, target4, target4}
		if !direct {
			want[2] = there
		}
		if got := n.opens(); !slices.Equal(got, want) {
			t.Errorf("direct %v: opened %v, want %v", direct, got, want)
		}
		if c.Counters().Bypassed == 0 || c.Avoided() != "" {
			t.Errorf("counters %+v, avoided %q", c.Counters(), c.Avoided())
		}
	}
}

// Why the converter could not connect reaches the application as connect would have said it.
func TestConvertErrors(t *testing.T) {
	for _, c := range []struct{ why, want error }{
		{syscall.ECONNREFUSED, syscall.ECONNREFUSED},
		{syscall.EHOSTUNREACH, syscall.EHOSTUNREACH},
		{os.ErrDeadlineExceeded, syscall.EHOSTUNREACH},
		{syscall.EACCES, os.ErrPermission},
	} {
		n := newNetwork(t)
		n.hosts[there] = newMachine(supports, fails(c.why)).serve
		if _, err := newConverter(n, true).Dial(soon(t), target4); !errors.Is(err, c.want) {
			t.Errorf("%v: told %v, want %v", c.why, err, c.want)
		}
		if got := n.opens(); len(got) != 1 {
			t.Errorf("%v: opened %v", c.why, got)
		}
	}
}

// A client that has to shows its cookie, at once and from then on.
func TestConvertCookie(t *testing.T) {
	n := newNetwork(t)
	n.hosts[there] = newMachine(convert.GateConfig{Supported: []uint8{convert.MPTCP}, Cookies: true}, connects(nil)).serve
	c := newConverter(n, true)
	speaks(t, dial(t, c))
	speaks(t, dial(t, c))
	if got := n.opens(); len(got) != 3 {
		t.Errorf("opened %v, want one more than two", got)
	}
}

// Each link has an address of its own, and a cookie of it. Whatever connections begin on, the converter is asked again on
// that, and for each link no more than once. A target that is denied is no reason to doubt a cookie.
func TestConvertCookieOfEachPath(t *testing.T) {
	n := newNetwork(t)
	m := newMachine(convert.GateConfig{Supported: []uint8{convert.MPTCP}, Cookies: true}, connects(nil))
	n.hosts[there] = m.serve
	c := newConverter(n, true)
	for i, step := range []struct {
		begins convert.Path
		opens  int // until the target is there
	}{{1, 2}, {2, 3}, {1, 2}, {1, 1}, {2, 2}, {2, 1}, {1, 2}} {
		n.begins = []convert.Path{step.begins}
		before := len(n.opens())
		s := dial(t, c)
		if speaks(t, s); n.path(s) != step.begins || len(n.opens())-before != step.opens {
			t.Errorf("connection %d: %d opened, want %d; over %d, not %d", i, len(n.opens())-before, step.opens, n.path(s), step.begins)
		}
	}
	m.answer = fails(syscall.EACCES)
	for range 2 {
		n.begins = []convert.Path{1}
		before := len(n.opens())
		if _, err := c.Dial(soon(t), target4); !errors.Is(err, os.ErrPermission) || len(n.opens())-before != 2 {
			t.Errorf("denied: %v after %d", err, len(n.opens())-before)
		}
	}
}

// One that does not know the option is asked again without it, and then never with it.
func TestConvertBaseRetry(t *testing.T) {
	n := newNetwork(t)
	n.hosts[there] = newMachine(convert.GateConfig{}, connects(nil)).serve
	c := newConverter(n, true)
	speaks(t, dial(t, c))
	speaks(t, dial(t, c))
	if got := n.opens(); len(got) != 3 {
		t.Errorf("opened %v, want one more than two", got)
	}
}

// A converter that is full is left alone for the time that it says; targets are connected to directly meanwhile.
func TestConvertBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		m := newMachine(supports, nil)
		n.hosts[there] = m.serve
		n.hosts[target4] = func(h *host) { h.says([]byte("data")...); h.ended() }
		m.answer = func(c *convert.Converter, now clock.Time) []byte {
			m.answer = connects(nil)
			return c.Failed(now, convert.Delayed(convert.ResourceExceeded, 20*time.Second))
		}
		c := newConverter(n, false)
		speaks(t, dial(t, c))
		time.Sleep(19 * time.Second)
		speaks(t, dial(t, c))
		time.Sleep(2 * time.Second)
		speaks(t, dial(t, c))
		if got, want := n.opens(), []netip.AddrPort{there, target4, target4, there}; !slices.Equal(got, want) {
			t.Errorf("opened %v, want %v", got, want)
		}
	})
}

// A converter that is not reached is not worse than none: the target is connected to directly, at once and for a while. That
// there is no connection for another reason, such as that no port is free, is none to go past it.
func TestConvertUnreached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.hosts[target4] = func(h *host) { h.says([]byte("data")...); h.ended() }
		c := newConverter(n, false)
		if _, err := c.Dial(soon(t), target4); err != errNobody {
			t.Error(err)
		}
		n.unreached = map[netip.AddrPort]bool{there: true}
		for _, wait := range []time.Duration{29 * time.Second, 2 * time.Second} {
			speaks(t, dial(t, c))
			time.Sleep(wait)
		}
		n.unreached, n.hosts[there] = nil, newMachine(supports, connects(nil)).serve
		speaks(t, dial(t, c))
		if got, want := n.opens(), []netip.AddrPort{there, there, target4, target4, there}; !slices.Equal(got, want) {
			t.Errorf("opened %v, want %v", got, want)
		}
		if c.Counters().BackedOff != 2 {
			t.Errorf("counters %+v", c.Counters())
		}
	})
}

// Who does not answer as a converter does is not used any more, until the way to it has changed.
func TestConvertInterference(t *testing.T) {
	n := newNetwork(t)
	n.hosts[there] = func(h *host) { h.says([]byte("HTTP/1.1 400 Bad Request\r\n")...); h.ended() }
	n.hosts[target4] = func(h *host) { h.says([]byte("data")...); h.ended() }
	c := newConverter(n, false)
	speaks(t, dial(t, c))
	speaks(t, dial(t, c))
	if got, want := n.opens(), []netip.AddrPort{there, target4, target4}; !slices.Equal(got, want) {
		t.Errorf("opened %v, want %v", got, want)
	}
	if c.Avoided() == "" {
		t.Error("nothing is said of it")
	}
	c.Forget()
	n.hosts[there] = newMachine(supports, connects(nil)).serve
	speaks(t, dial(t, c))
	if c.Avoided() != "" || n.opens()[3] != there {
		t.Errorf("not tried again: %v, %q", n.opens(), c.Avoided())
	}
}

// An end before the answer is whole, or no answer in time, is no sign of interference.
func TestConvertSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, said := range [][]byte{nil, {1, 2}, {1, 3, 0x22, 0x63, 30}} {
			n := newNetwork(t)
			n.hosts[there] = func(h *host) { h.says(said...); h.CloseWrite(); h.ended() }
			c := newConverter(n, true)
			if _, err := c.Dial(soon(t), target4); !errors.Is(err, io.ErrUnexpectedEOF) || c.Avoided() != "" {
				t.Errorf("% x: %v, %q", said, err, c.Avoided())
			}
			n.hosts[there] = func(h *host) { h.says(said...); h.ended() }
			if _, err := c.Dial(soon(t), target4); err != context.DeadlineExceeded {
				t.Errorf("% x and silence: %v", said, err)
			}
		}
	})
}

// What is asked rides in the SYN. Once it was seen to arrive so, one that does not means that something takes it away
// (RFC 8803 8): the converter is not asked any more, not even for this target, until the way to it has changed.
func TestConvertStripped(t *testing.T) {
	n := newNetwork(t)
	n.hosts[there] = newMachine(supports, connects(nil)).serve
	n.hosts[target4] = func(h *host) { h.says([]byte("data")...); h.ended() }
	c := newConverter(n, false)
	for i, now := range []ride{unknown, arrives, unknown, stripped, arrives} {
		n.rides = now
		if i == 4 {
			if c.Avoided() == "" {
				t.Error("nothing is said of it")
			}
			c.Forget()
		}
		speaks(t, dial(t, c))
	}
	if got, want := n.opens(), []netip.AddrPort{there, there, there, there, target4, there}; !slices.Equal(got, want) {
		t.Errorf("opened %v, want %v", got, want)
	}
	if want := []Haste{Hasty, Hasty, HastyOnly, HastyOnly, Patient, Hasty}; !slices.Equal(n.hastes, want) {
		t.Errorf("haste %v, want %v", n.hastes, want)
	}
}

// Another address of the converter is no reason to forget that the first one is avoided, and a change of the way to them is one
// to forget it of all.
func TestConvertForgetsAllAddresses(t *testing.T) {
	n := newNetwork(t)
	at := there
	other := netip.MustParseAddrPort("[2001:db8::7]:1080")
	n.hosts[there] = func(h *host) { h.says([]byte("HTTP/1.1 400 Bad Request\r\n")...); h.ended() }
	n.hosts[other] = newMachine(supports, connects(nil)).serve
	n.hosts[target4] = func(h *host) { h.says([]byte("data")...); h.ended() }
	c := newConverter(n, false)
	c.cfg.Converter = func() netip.AddrPort { return at }
	speaks(t, dial(t, c))
	at = other
	c.Forget()
	speaks(t, dial(t, c))
	at, n.hosts[there] = there, newMachine(supports, connects(nil)).serve
	speaks(t, dial(t, c))
	if got, want := n.opens(), []netip.AddrPort{there, target4, other, there}; !slices.Equal(got, want) {
		t.Errorf("opened %v, want %v", got, want)
	}
}

// It may have been a crowd of SYNs that made a converter lose one's octets, or somebody in its place who let nobody through before a
// login: it gets another chance, each time later as long as it has not answered.
func TestConvertAnotherChance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		good := newMachine(supports, connects(nil)).serve
		bad := func(h *host) { h.says([]byte("HTTP/1.1 302 Found\r\n")...); h.ended() }
		n.hosts[target4] = func(h *host) { h.says([]byte("data")...); h.ended() }
		c := newConverter(n, false)
		asks := func(ride ride, answers func(*host), want netip.AddrPort) {
			t.Helper()
			n.rides, n.hosts[there] = ride, answers
			speaks(t, dial(t, c))
			if all := n.opens(); all[len(all)-1] != want {
				t.Errorf("opened %v last, want %v", all[len(all)-1], want)
			}
		}
		avoided := func(wait time.Duration) {
			t.Helper()
			if c.Avoided() == "" {
				t.Error("nothing is said of it")
			}
			time.Sleep(wait - time.Second)
			asks(arrives, good, target4)
			time.Sleep(2 * time.Second)
		}
		for _, wait := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
			asks(unknown, bad, target4)
			avoided(wait)
		}
		asks(arrives, good, there)
		for range 3 {
			asks(arrives, good, there)
			asks(stripped, good, target4)
			avoided(time.Minute)
		}
		asks(arrives, bad, target4)
		avoided(time.Minute)
		asks(arrives, bad, target4)
		c.Forget()
		asks(arrives, bad, target4)
		avoided(time.Minute)
		asks(arrives, good, there)
	})
}

// FuzzConvert: whatever a converter says, Dial returns, and takes no octet of the target's.
func FuzzConvert(f *testing.F) {
	f.Add([]byte{1, 1, 0x22, 0x63, 'd'})
	f.Add(append([]byte{1, 5, 0x22, 0x63, 20, 4, 0, 0}, append(slices.Clone(capable), "data"...)...))
	f.Add([]byte{1, 2, 0x22, 0x63, 30, 1, 96, 0})
	f.Add([]byte{1, 2, 0x22, 0x63, 30, 1, 64, 30})
	f.Add([]byte{1, 2, 0x22, 0x63, 30, 1, 33, 30})
	f.Fuzz(func(t *testing.T, said []byte) {
		if len(said) > 4096 {
			return
		}
		n := newNetwork(t)
		n.hosts[there] = func(h *host) { h.says(said...); h.CloseWrite() }
		s, err := newConverter(n, true).Dial(soon(t), target4)
		if err != nil {
			return
		}
		rest, _ := io.ReadAll(s)
		s.Close()
		if want := int(said[1]) * 4; len(said)-len(rest) != want || !bytes.HasSuffix(said, rest) {
			t.Errorf("of % x, % x is left, want all but %d", said, rest, want)
		}
	})
}
