package mptcp

import (
	"io"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"tandem/engine/tcp"
)

// dialler returns a bond with one path and the entropy of a seed.
func dialler(entropy io.Reader, paired bool) *Bond {
	b := NewBond(Config{Entropy: entropy, Paired: paired, Strict: true})
	b.Attach(0, 0, PathConfig{Local4: netip.MustParseAddr("10.0.0.1")})
	return b
}

func ask(t *testing.T, b *Bond) uint16 {
	t.Helper()
	c, err := b.Dial(0, target, DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return c.Source().Port()
}

// The first port of a process is any of them, each as likely as the others: who was restarted hardly ever asks
// with one that the peer remembers.
func TestFirstPort(t *testing.T) {
	const bonds, parts = 2000, 8
	for _, paired := range []bool{true, false} {
		dice := rand.NewChaCha8([32]byte{7})
		var count [parts]int
		for range bonds {
			port := int(ask(t, dialler(dice, paired)))
			if port < portFirst || port > portLast {
				t.Fatal(port)
			}
			count[(port-portFirst)*parts/(portLast-portFirst+1)]++
		}
		for i, n := range count {
			if n < bonds/parts*3/4 || n > bonds/parts*5/4 {
				t.Errorf("paired %v: %d of %d begin in part %d", paired, n, bonds, i)
			}
		}
	}
}

// Strangers cannot tell the next port from the last (RFC 6056); a Paired peer, which remembers those that were
// used, gets one after the other.
func TestNextPort(t *testing.T) {
	for _, paired := range []bool{true, false} {
		b := dialler(rand.NewChaCha8([32]byte{8}), paired)
		last, near := ask(t, b), 0
		for range 100 {
			port := ask(t, b)
			if d := port - last; d < 100 {
				near++
			}
			last = port
		}
		if paired && near < 99 || !paired && near > 5 {
			t.Errorf("paired %v: %d of 100 follow the one before", paired, near)
		}
	}
}

// When entropy gives a port that is taken, the next free one is used.
func TestPortTaken(t *testing.T) {
	b := dialler(&fixed{key: keyA, nonce: nonceA}, false)
	first, second := ask(t, b), ask(t, b)
	if second != first+1 {
		t.Fatal(first, second)
	}
}

// Where only some ports are ours, connections get each of these and no others.
func TestPortRange(t *testing.T) {
	const first, last = 65500, 65535
	b := NewBond(Config{Entropy: rand.NewChaCha8([32]byte{9}), Strict: true, FirstPort: first, LastPort: last})
	b.Attach(0, 0, PathConfig{Local4: netip.MustParseAddr("10.0.0.1")})
	got := map[uint16]bool{}
	for range last - first + 1 {
		got[ask(t, b)] = true
	}
	for port := range got {
		if port < first {
			t.Error(port)
		}
	}
	if len(got) != last-first+1 {
		t.Errorf("%d ports, want %d", len(got), last-first+1)
	}
	if _, err := b.Dial(0, target, DialOptions{}); err != ErrLimit {
		t.Errorf("one more: %v", err)
	}
}

// When every port is taken, one of which nothing is left but TIME-WAIT serves again: with numbers behind all that was sent
// before. As long as a connection has it, over whatever path, it does not.
func TestPortServesAgain(t *testing.T) {
	s := agreed(t, Config{Passive: true, FirstPort: 61000, LastPort: 61000}, 2)
	full := func() {
		t.Helper()
		before := s.b.Counters().LimitPorts
		if _, err := s.b.Dial(s.now, target, DialOptions{}); err != ErrLimit || s.b.Counters().LimitPorts != before+1 {
			t.Errorf("one more: %v, counted %d", err, s.b.Counters().LimitPorts-before)
		}
	}
	full()
	s.c.Close(s.now)
	s.skip()
	s.recv("0 . 1 ack 1 <dss ack8 2 map8 1 ssn 0 len 1 fin>")
	s.skip()
	full()
	s.recv("0 F. 1 ack 2 <dss ack8 2>")
	s.skip()
	first, old := s.c, s.c.subflows[0].tcp
	if old.State() != tcp.TimeWait {
		t.Fatal(old.State())
	}
	s.dial(DialOptions{Paths: []PathID{0}})
	f := s.c.subflows[0]
	if ahead := f.tcp.Config().ISS.Sub(old.Next()); ahead <= 0 || ahead > 1<<30 {
		t.Errorf("begins %d behind the end of the old one", ahead)
	}
	if s.b.flows[f.key] != f || !first.gone || f.tcp.Config().Local.Port() != 61000 {
		t.Errorf("the old one is there, or gone %v, port %v", first.gone, f.tcp.Config().Local)
	}
	full()
	s.advance(61 * second) // the end of TIME-WAIT, had it gone on
	if s.b.flows[f.key] != f {
		t.Error("the new one went with the old one")
	}
}

// A connection whose ports differ by path takes them so, too; when there is none left a join waits.
func TestJoinTakesNoPort(t *testing.T) {
	s := dialled(t, Config{Privacy: PrivacyStrict, FirstPort: 61000, LastPort: 61000}, 2)
	s.recv("0 . 1 ack 1 <dss ack8 1>")
	s.write("hello")
	s.advance(5 * second)
	for _, line := range s.left() {
		if strings.HasPrefix(line, "1 S") {
			t.Errorf("joined: %s", line)
		}
	}
}
