package convert

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/clock"
)

// told returns the error with which a converter answers.
func told(t *testing.T, c *Converter) Failure {
	t.Helper()
	var m Message
	if err := m.Parse(c.Answer()); err != nil || m.Has != HasError {
		t.Fatalf("%x: %v", c.Answer(), err)
	}
	return m.Error
}

// asksWith is a request with a cookie, from a client.
func asksWith(g *Gate, client netip.Addr, cookie []byte) (*Converter, Verdict) {
	m := Message{Has: HasConnect, Target: server4, Cookie: cookie}
	if cookie != nil {
		m.Has |= HasCookie
	}
	c := g.Open(client)
	v, _ := c.Receive(0, m.Append(nil))
	return c, v
}

func TestCookies(t *testing.T) {
	g := NewGate(GateConfig{Cookies: true, Secret: [32]byte{1}})
	c, v := asksWith(g, client4, nil)
	f := told(t, c)
	if v != Close || f.Code != MissingCookie || len(f.Cookie()) != cookieLen {
		t.Fatalf("%d, %+v", v, f)
	}
	cookie := bytes.Clone(f.Cookie())
	good := func(what string, client netip.Addr, cookie []byte) {
		t.Helper()
		if c, v := asksWith(g, client, cookie); v != Dial {
			t.Errorf("%s: %d, %+v", what, v, told(t, c))
		}
	}
	bad := func(what string, client netip.Addr, cookie []byte) {
		t.Helper()
		c, v := asksWith(g, client, cookie)
		if v != Close || told(t, c).Code != NotAuthorized {
			t.Errorf("%s: %d", what, v)
		}
	}
	good("the cookie", client4, cookie)
	good("from the same address in another form", netip.AddrFrom16(client4.As16()), cookie)
	bad("another address", client4.Next(), cookie)
	bad("an empty cookie", client4, []byte{})
	bad("half of it", client4, cookie[:8])
	bad("with zeros behind it", client4, append(bytes.Clone(cookie), 0, 0, 0, 0))
	for bit := range 8 * cookieLen {
		wrong := bytes.Clone(cookie)
		wrong[bit/8] ^= 1 << (bit % 8)
		bad("a bit wrong", client4, wrong)
		g.errors.clients.drop(client4)
	}
	g.Rotate([32]byte{2})
	good("the previous secret", client4, cookie)
	c, _ = asksWith(g, client4, nil)
	if newer := told(t, c).Cookie(); bytes.Equal(newer, cookie) {
		t.Error("the same cookie of another secret")
	} else {
		good("the new secret", client4, newer)
	}
	g.Rotate([32]byte{3})
	bad("expired", client4, cookie)
	if n := g.Counters(); n.Errors[MissingCookie] != 2 || n.Errors[NotAuthorized] != 4+128+1 {
		t.Errorf("%d and %d", n.Errors[MissingCookie], n.Errors[NotAuthorized])
	}
}

// Before the first rotation there is no previous secret, not even one of zeros.
func TestNoPreviousSecret(t *testing.T) {
	cookie := NewGate(GateConfig{}).cookie(0, client4)
	if c, v := asksWith(NewGate(GateConfig{Cookies: true, Secret: [32]byte{1}}), client4, cookie); v != Close {
		t.Errorf("%d, %x", v, c.Answer())
	}
}

// Info needs the cookie too, and who brings none learns nothing of the rest of its message.
func TestCookieComesFirst(t *testing.T) {
	g := NewGate(GateConfig{Cookies: true})
	for _, wire := range []string{"01 02 2263 01 01 0000", "01 06 2263 0a 05 01bb 00*15 01", "01 07 2263 0a 06 " + toServer4 + "fd 02 0000"} {
		c, v := hears(t, g, 0, wire)
		if v != Close || told(t, c).Code != MissingCookie {
			t.Errorf("%s: %d, %x", wire, v, c.Answer())
		}
	}
}

// One client fills its own share, all together the whole.
func TestPendingIsBounded(t *testing.T) {
	g := NewGate(GateConfig{Pending: 2, PendingAll: 4, Wait: 7 * time.Second})
	other, third, fourth := client4.Next(), client4.Next().Next(), client4.Next().Next().Next()
	first, v := asksWith(g, client4, nil)
	asksWith(g, client4, nil)
	if c, full := asksWith(g, client4, nil); v != Dial || full != Close || told(t, c).Code != ResourceExceeded || told(t, c).Delay() != 7*time.Second {
		t.Fatalf("%d, then %d", v, full)
	}
	if _, v = asksWith(g, other, nil); v != Dial {
		t.Error("one client takes it all")
	}
	asksWith(g, third, nil)
	if _, v = asksWith(g, fourth, nil); v != Close || g.Counters().Full != 2 || g.Pending() != 4 {
		t.Errorf("%d, %d pending, %+v", v, g.Pending(), g.Counters().Full)
	}
	first.End()
	first.End()
	if _, v = asksWith(g, fourth, nil); v != Dial || g.Pending() != 4 {
		t.Errorf("%d, %d pending after one has gone", v, g.Pending())
	}
}

// A client has at most half of what the others leave, so that there is always room for one more.
func TestPendingIsShared(t *testing.T) {
	g := NewGate(GateConfig{Pending: 100, PendingAll: 16})
	for i, want := range []int{8, 4, 2, 1, 1, 0} {
		got := 0
		for client := netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}); ; got++ {
			if _, v := asksWith(g, client, nil); v != Dial {
				break
			}
		}
		if got != want {
			t.Errorf("client %d has %d, want %d", i, got, want)
		}
	}
}

// A client whose requests end at once makes no more of them than its rate, and others have theirs.
func TestEntryRate(t *testing.T) {
	g := NewGate(GateConfig{EntryEvery: 10 * time.Millisecond, EntryBurst: 3, Wait: 2 * time.Second})
	count := func(now clock.Time, client netip.Addr) (n int) {
		for range 10 {
			c := g.Open(client)
			if v, _ := c.Receive(now, octets(t, connect4)); v == Dial {
				c.Failed(now, Failure{Code: ConnectionReset})
				n++
			} else if f := told(t, c); f.Code != ResourceExceeded || f.Delay() != 2*time.Second {
				t.Fatalf("%+v", f)
			}
		}
		return n
	}
	if n := count(second, client4); n != 3 || g.Counters().Hurried != 7 || g.Counters().Full != 0 || g.Pending() != 0 {
		t.Errorf("%d at once, %+v", n, g.Counters().Hurried)
	}
	if a, b := count(second, client4.Next()), count(second.Add(20*time.Millisecond), client4); a != 3 || b != 2 {
		t.Errorf("%d for another, %d after 20 ms", a, b)
	}
}

// Whoever may ask for nothing is told so, as often as others are told errors.
func TestRefuse(t *testing.T) {
	g := NewGate(GateConfig{ErrorBurst: 2})
	for i := range 4 {
		c := g.Open(client4)
		c.Refuse(0)
		if v, _ := c.Receive(0, octets(t, connect4)); v != Close || (c.Answer() != nil) != (i < 2) || i < 2 && told(t, c).Code != NotAuthorized {
			t.Errorf("%d: %d, %x", i, v, c.Answer())
		}
	}
	if n := g.Counters(); n.Errors[NotAuthorized] != 4 || n.Silenced != 2 || n.Requests != 0 {
		t.Errorf("%+v", n)
	}
}

// Whoever is gone leaves nothing behind.
func TestPendingIsGivenBack(t *testing.T) {
	g := all()
	for i := range 30 {
		c, _ := asksWith(g, client4, nil)
		switch i % 3 {
		case 0:
			c.Connected(nil)
		case 1:
			c.Failed(0, Failure{Code: ConnectionReset})
		}
		c.End()
	}
	if g.Pending() != 0 || len(g.pending) != 0 {
		t.Errorf("%d, %v", g.Pending(), g.pending)
	}
}

// An IPv6 client is its /64.
func TestSite(t *testing.T) {
	g := NewGate(GateConfig{Pending: 1})
	asksWith(g, netip.MustParseAddr("2001:db8::1"), nil)
	if _, v := asksWith(g, netip.MustParseAddr("2001:db8::ffff:0:0:2"), nil); v != Close {
		t.Error("another address of the same network has a share of its own")
	}
	if _, v := asksWith(g, netip.MustParseAddr("2001:db8:0:1::1"), nil); v != Dial {
		t.Error("another network has none")
	}
}

// Errors are told so often, and then the connection is just closed.
func TestErrorRate(t *testing.T) {
	g := NewGate(GateConfig{ErrorEvery: 100 * time.Millisecond, ErrorBurst: 3})
	tells := func(now clock.Time, client netip.Addr) bool {
		c := g.Open(client)
		if v, _ := c.Receive(now, octets(t, acceptance)); v != Close {
			t.Fatal(v)
		}
		return c.Answer() != nil
	}
	count := func(now clock.Time, client netip.Addr) (n int) {
		for range 10 {
			if tells(now, client) {
				n++
			}
		}
		return n
	}
	if n := count(second, client4); n != 3 || g.Counters().Silenced != 7 || g.Counters().Errors[MalformedMessage] != 10 {
		t.Errorf("%d at once, %+v", n, g.Counters().Silenced)
	}
	if n := count(second, client4.Next()); n != 3 {
		t.Errorf("%d for another", n)
	}
	if tells(second+second/10-1, client4) || !tells(second+second/10, client4) || tells(second+second/10, client4) {
		t.Error("not one each 100 ms")
	}
	if n := count(100*second, client4); n != 3 {
		t.Errorf("%d after a long time", n)
	}
}

// Answers that are no errors are not held back.
func TestSilenceIsForErrorsOnly(t *testing.T) {
	g := NewGate(GateConfig{ErrorBurst: 1})
	asksWith(g, client4, []byte{})
	for range 2 {
		hears(t, g, 0, acceptance)
	}
	if c, v := hears(t, g, 0, connect4); v != Dial || c.Connected(nil) == nil {
		t.Error(v)
	}
	c, _ := hears(t, g, 0, connect4)
	if got := c.Failed(0, Unreachable(1)); got != nil || g.Pending() != 1 {
		t.Errorf("%x", got)
	}
}

func TestClientsAreBounded(t *testing.T) {
	g := NewGate(GateConfig{Clients: 4})
	for a, i := client4, 0; i < 100; a, i = a.Next(), i+1 {
		c := g.Open(a)
		c.Receive(0, octets(t, acceptance))
		c = g.Open(a)
		c.Receive(0, octets(t, connect4))
	}
	if a, b, n := len(g.errors.clients.rows), len(g.entries.clients.rows), g.Counters().Forgotten; a != 4 || b != 4 || n != 2*96 {
		t.Errorf("%d and %d, %d forgotten", a, b, n)
	}
}

func TestGateSupportsWhatThereIs(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("supports TCP-AO")
		}
	}()
	NewGate(GateConfig{Supported: []uint8{29}})
}

func TestGateDefaults(t *testing.T) {
	got := NewGate(GateConfig{}).cfg
	if got.Pending != 256 || got.PendingAll != 4096 || got.ErrorBurst != 100 || got.Clients != 4096 ||
		got.EntryBurst != 256 || got.EntryEvery != 5*time.Millisecond || got.Wait != 5*time.Second || got.ErrorEvery != 10*time.Millisecond {
		t.Errorf("%+v", got)
	}
}
