package mptcp

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"tandem/engine/wire"
)

func TestPrivacyNames(t *testing.T) {
	for p := PrivacyStandard; p <= PrivacyStrict; p++ {
		if got, ok := ParsePrivacy(p.String()); got != p || !ok {
			t.Errorf("%v: %v %v", p, got, ok)
		}
	}
	if _, ok := ParsePrivacy("unknown"); ok || Privacy(9).String() != "unknown" {
		t.Error("unknown is taken")
	}
}

// P3: a private address means something to a peer in the same network alone.
func TestTellable(t *testing.T) {
	for _, x := range []struct {
		addr, peer string
		want       bool
	}{
		{"198.51.100.7", "203.0.113.9", true}, {"2001:db8::7", "2001:db8:9::9", true}, {"198.51.100.7", "10.0.0.1", true},
		{"10.1.2.3", "10.9.9.9", true}, {"10.1.2.3", "192.168.0.1", false}, {"10.1.2.3", "203.0.113.9", false},
		{"172.16.0.1", "172.31.255.255", true}, {"172.16.0.1", "172.32.0.1", false},
		{"192.168.1.5", "192.168.9.9", true}, {"192.168.1.5", "203.0.113.9", false},
		{"100.64.0.1", "100.127.0.1", true}, {"100.64.0.1", "203.0.113.9", false},
		{"169.254.1.1", "169.254.2.2", true}, {"169.254.1.1", "203.0.113.9", false},
		{"127.0.0.1", "203.0.113.9", false}, {"::1", "2001:db8::9", false},
		{"fd00:1:2::5", "fd00:1:2:3::9", true}, {"fd00:1:2::5", "fd00:1:3::9", false}, {"fd00:1:2::5", "2001:db8::9", false},
		{"fe80::5", "fe80::9", true}, {"fe80::5%eth0", "fe80::9%eth0", true}, {"fe80::5%eth0", "2001:db8::9", false}, {"fe80::5", "2001:db8::9", false}, {"10.1.2.3", "2001:db8::9", false},
	} {
		if got := tellable(netip.MustParseAddr(x.addr), netip.MustParseAddr(x.peer)); got != x.want {
			t.Errorf("%s to %s: %v", x.addr, x.peer, got)
		}
	}
}

// P1, P3: what is announced, to a peer at 192.0.2.1. The first path's address is known already.
func TestAnnouncePrivately(t *testing.T) {
	for _, x := range []struct {
		privacy Privacy
		private bool
		addr    string
		want    bool
	}{
		{PrivacyStandard, false, "198.51.100.7", true}, {PrivacyStandard, false, "10.9.1.1", false},
		{PrivacyStandard, false, "100.64.0.1", false}, {PrivacyStandard, false, "192.0.2.77", true},
		{PrivacyStandard, true, "198.51.100.7", false}, {PrivacyStrict, false, "198.51.100.7", false},
	} {
		s := newScript(t, false, Config{Announce: true, Privacy: x.privacy}, 1)
		s.ends[0].remote = netip.MustParseAddrPort("192.0.2.1:5000")
		s.b.Attach(s.now, 1, PathConfig{Local4: netip.MustParseAddr(x.addr), Private: x.private})
		s.b.Listen(80)
		s.recv("0 S 0 <capable v1 flags 01>")
		s.c, _, _ = s.b.Next()
		s.accept()
		s.skip()
		s.recv("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
		if got := strings.Join(s.left(), "\n"); strings.Contains(got, "add_addr") != x.want {
			t.Errorf("%+v: %s", x, got)
		}
	}
}

// P4: nothing that a connection shows was shown by another.
func TestFreshKeys(t *testing.T) {
	b := NewBond(Config{Entropy: rand.NewChaCha8([32]byte{4}), Strict: true})
	b.Attach(0, 0, PathConfig{Local4: netip.MustParseAddr("10.0.0.1")})
	keys, tokens := map[uint64]bool{}, map[uint32]bool{}
	for range 50 {
		c, err := b.Dial(0, target, DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if keys[c.id.localKey] || tokens[c.Token()] {
			t.Fatal("twice")
		}
		keys[c.id.localKey], tokens[c.Token()] = true, true
		c.Abort(0)
	}
}

// P7: an address has one number in a connection, which is another's in no case and tells nothing of paths.
func TestAddressIDs(t *testing.T) {
	b := NewBond(Config{Entropy: rand.NewChaCha8([32]byte{5}), Strict: true})
	for i := range 9 {
		b.Attach(0, PathID(i), PathConfig{Local4: netip.AddrFrom4([4]byte{10, 0, byte(i), 1}), Local6: netip.AddrFrom16([16]byte{0xfd, 15: byte(i + 1)})})
	}
	seen := map[uint8]int{}
	for range 200 {
		c, err := b.Dial(0, target, DialOptions{Paths: []PathID{0}})
		if err != nil {
			t.Fatal(err)
		}
		ids := map[uint8]bool{}
		for _, p := range b.paths {
			for _, addr := range []netip.Addr{p.cfg.Local4, p.cfg.Local6} {
				id := c.addressID(p, addr)
				if id != c.addressID(p, addr) || ids[id] || (id == 0) != (addr == c.home) {
					t.Fatalf("%v: %d of %v", addr, id, ids)
				}
				ids[id] = true
			}
		}
		seen[c.addressID(b.paths[1], b.paths[1].cfg.Local4)]++
		c.Abort(0)
	}
	if len(seen) < 100 {
		t.Errorf("200 connections number an address in %d ways", len(seen))
	}
}

// Nobody can tell the numbers from how many there were before: other chance gives others, and they follow no step.
func TestAddressIDsAreUnpredictable(t *testing.T) {
	drawn := func(seed byte) (ids []uint8) {
		b := NewBond(Config{Entropy: rand.NewChaCha8([32]byte{seed}), Strict: true})
		b.Attach(0, 0, PathConfig{Local4: netip.AddrFrom4([4]byte{10, 0, 0, 1})})
		c, err := b.Dial(0, target, DialOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 12 {
			ids = append(ids, c.addressID(b.paths[0], netip.AddrFrom4([4]byte{10, 1, 0, byte(i)})))
		}
		return ids
	}
	one, other, same := drawn(1), drawn(2), 0
	steps := map[uint8]bool{}
	for i := range one {
		if one[i] == other[i] {
			same++
		}
		if i > 0 {
			steps[one[i]-one[i-1]] = true
		}
	}
	if same > 2 || len(steps) < 9 {
		t.Errorf("%v and %v: %d steps", one, other, len(steps))
	}
}

// However often addresses change, few numbers are kept.
func TestAddressIDsAreBounded(t *testing.T) {
	s := dialling(t, Config{}, 1)
	for i := range 1000 {
		s.c.addressID(&bondPath{id: PathID(i)}, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}))
	}
	if n := len(s.c.signal.names); n != namesMax {
		t.Errorf("%d are kept", n)
	}
}

// P1: from a path that is Private nothing joins and nothing is asked, but for who asks for it; who begins there shows
// no other address either.
func TestPrivatePath(t *testing.T) {
	private := func(t *testing.T, opt DialOptions) *script {
		s := newScript(t, true, Config{Establish: SIM}, 1)
		s.ends[1] = &tuple{}
		s.b.Attach(s.now, 1, PathConfig{Local4: netip.MustParseAddr("10.0.1.1"), Private: true})
		s.dial(opt)
		return s
	}
	s := private(t, DialOptions{})
	s.want("0 S 0 <capable v1 flags 01>")
	s.advance(100 * ms)
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>", "0 . 1 ack 1 <dss ack8 1>")
	s.want("0 . 1 ack 1 <dss ack4 1>")
	s.recv("0 . 1 ack 1 <" + addAddr(1, "10.0.0.2", 0) + ">")
	s.want("0 . 1 ack 1 <add_addr id 1 10.0.0.2 echo>")
	s.ends[1] = &tuple{netip.MustParseAddrPort("10.0.1.1:48446"), target}
	s.recv("1 S 0 <join id 1 token token-A nonce nonce-B>")
	s.want("1 R. zero ack 1 <reset prohibited>")
	s.b.Detach(s.now, 0) // rather no connection than one that is known there
	s.advance(10 * second)
	s.want()

	for _, opt := range []DialOptions{{Only: []PathID{1}}, {Paths: []PathID{1}}} {
		s := private(t, opt)
		s.want("1 S 0 <capable v1 flags 01>")
		s.advance(100 * ms)
		s.recv("1 S. 0 ack 1 <capable v1 flags 01 key-B>", "1 . 1 ack 1 <dss ack8 1>")
		s.want("1 . 1 ack 1 <dss ack4 1>")
		s.b.Detach(s.now, 1)
		s.advance(10 * second)
		s.want()
	}
}

// P5: a connection that was given paths uses no other, whatever comes or goes.
func TestGivenPathsOnly(t *testing.T) {
	s := newScript(t, true, Config{Announce: true}, 3)
	s.dial(DialOptions{Only: []PathID{0, 1}})
	s.skip()
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>", "0 . 1 ack 1 <dss ack8 1>")
	for _, line := range s.left() {
		if line[0] == '2' || strings.Contains(line, "10.0.2.1") {
			t.Error(line)
		}
	}
	s.join(1)
	s.recv("0 . 1 ack 1 <" + addAddr(7, "10.0.0.7", 0) + ">")
	s.attach(3, true)
	s.b.Detach(s.now, 0)
	s.b.Detach(s.now, 1)
	s.advance(20 * second)
	for _, line := range s.left() {
		if line[0] > '1' {
			t.Error(line)
		}
	}
}

// P2: as long as nothing asks for a second path the peer learns of none; no race tells it either.
func TestStrictJoinsLate(t *testing.T) {
	s := newScript(t, true, Config{Privacy: PrivacyStrict, Establish: Classic}, 2)
	s.b.cfg.Establish = Auto
	s.dial(DialOptions{})
	s.want("0 S 0 <capable v1 flags 01>")
	s.advance(100 * ms)
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>", "0 . 1 ack 1 <dss ack8 1>")
	s.want("0 . 1 ack 1 <dss ack4 1>")
	for at := 1; at < demandLeast-1000; at += 1000 {
		s.recv(fmt.Sprintf("0 . %d:%d ack 1 <dss ack8 1 map4 %d ssn %d len 1000>", at, at+1000, at, at))
		if len(s.c.subflows) > 1 {
			t.Fatalf("joins after %d octets", at)
		}
		s.take()
		s.skip()
	}
	at := int(s.c.in.readable.Load()) + 1
	s.recv(fmt.Sprintf("0 . %d:%d ack 1 <dss ack8 1 map4 %d ssn %d len 1000>", at, at+1000, at, at))
	if got := strings.Join(s.left(), "\n"); !strings.Contains(got, "1 S 0 win 65535 <join") {
		t.Errorf("no join after %d octets:\n%s", at, got)
	}
}

// P2: a path that fails is such a reason too.
func TestStrictJoinsWhenThePathFails(t *testing.T) {
	cfg := Config{Privacy: PrivacyStrict}
	lost := map[string]func(s *script){
		"lost": func(s *script) { s.b.Detach(s.now, 0) },
		"late": func(s *script) { s.write("hello"); s.advance(2 * second) },
		"ends": func(s *script) { s.b.SetLifetime(s.now, 0, Lifetime{Valid: 4 * second}) },
	}
	for name, lose := range lost {
		s := dialled(t, cfg, 2)
		s.recv("0 . 1 ack 1 <dss ack8 1>")
		s.skip()
		lose(s)
		if got := strings.Join(s.left(), "\n"); !strings.Contains(got, "1 S 0 win 65535 <join") {
			t.Errorf("%s: no join\n%s", name, got)
		}
	}
}

// P7: the ports of subflows tell nothing; PrivacyStandard keeps to RFC 8684 3.9.1.
func TestStrictPorts(t *testing.T) {
	for _, x := range []struct {
		privacy Privacy
		mode    Establish
		same    bool
	}{{PrivacyStandard, Classic, true}, {PrivacyStrict, Classic, false}, {PrivacyStrict, SIM, false}} {
		s := newScript(t, true, Config{Privacy: x.privacy, Establish: x.mode}, 2)
		s.b.cfg.Entropy = rand.NewChaCha8([32]byte{6})
		s.dial(DialOptions{Establish: x.mode})
		if s.skip(); x.mode == Classic {
			s.c.needy = true
			s.b.cfg.Entropy = &fixed{key: keyA, nonce: nonceA + 5}
			s.c.id.mptcp, s.c.id.confirmed, s.c.phase, s.c.id.peerKey = true, true, open, keyB
			s.c.joinAll(s.now)
			s.b.touch(s.now, s.c)
			s.skip()
		}
		if n := len(s.c.subflows); n != 2 {
			t.Fatalf("%+v: %d subflows", x, n)
		}
		if same := s.ends[0].local.Port() == s.ends[1].local.Port(); same != x.same {
			t.Errorf("%+v: from %v and %v", x, s.ends[0].local, s.ends[1].local)
		}
	}
}

// One path at a time, whatever the bond does for others, unless a connection is to be established otherwise.
func TestStrictAsksOneAtATime(t *testing.T) {
	for mode := Auto; mode <= IPSSIM; mode++ {
		s := newScript(t, true, Config{Privacy: PrivacyStrict}, 4)
		s.b.cfg.Establish = mode
		s.dial(DialOptions{})
		if got := s.asked(); got != "0" {
			t.Errorf("%v: asks %s", mode, got)
		}
		if s.last.Options.Has&wire.HasRobE != 0 {
			t.Errorf("%v: says that it would rather ask over all", mode)
		}
		s.c.Abort(s.now)
		s.learn(0, 20*ms, 1000)
		s.dial(DialOptions{})
		s.skip()
		s.advance(1100 * ms)
		if got := s.asked(); mode == IPSSIM && got != "01" && got != "10" {
			t.Errorf("%v: asks %s after a second", mode, got)
		}
	}
	s := newScript(t, true, Config{Privacy: PrivacyStrict}, 2)
	s.dial(DialOptions{Establish: SIM})
	if got := s.asked(); got != "01" {
		t.Errorf("asks %s when told to race", got)
	}
}

// P9: no window says what another path carries.
func TestStrictCouplesNothing(t *testing.T) {
	for _, control := range []string{"", "lia", "olia", "balia", "cubic"} {
		for _, privacy := range []Privacy{PrivacyStandard, PrivacyStrict} {
			s := newScript(t, true, Config{Privacy: privacy}, 2)
			s.b = NewBond(Config{Privacy: privacy, Control: control, Entropy: s.b.cfg.Entropy, Strict: true})
			s.attach(0, true)
			s.dial(DialOptions{})
			if coupled := s.c.group != nil; coupled != (privacy == PrivacyStandard && control != "cubic") {
				t.Errorf("%v, %q: coupled %v", privacy, control, coupled)
			}
		}
	}
}

// P10: no packet shows a key after the handshake.
func TestStrictNeverClosesFast(t *testing.T) {
	for _, x := range []struct {
		name    string
		cfg     Config
		prepare func(s *script)
		want    []string
	}{
		{"aborted", Config{}, func(s *script) { s.write("hello"); s.skip(); s.c.Abort(s.now) }, []string{"0 R. 6 ack 1 <reset unspecified>"}},
		{"idle", Config{Inactivity: Inactivity{Time: 100 * second}}, func(s *script) { s.skip(); s.advance(200 * second); s.out = s.out[len(s.out)-1:] }, []string{"0 R. 1 ack 1 <reset unspecified>"}},
		{"nothing to lose", Config{}, func(s *script) {
			s.recv("0 . 1 ack 1 <dss ack8 1 map4 1 ssn 0 len 1 fin>")
			s.skip()
			s.c.Abort(s.now)
		}, []string{"0 . 1 ack 1 <dss ack4 2 map4 1 ssn 0 len 1 fin>"}},
	} {
		x.cfg.Privacy = PrivacyStrict
		s := dialled(t, x.cfg, 1)
		s.recv("0 . 1 ack 1 <dss ack8 1>")
		s.skip()
		x.prepare(s)
		s.want(x.want...)
	}
}

// A Paired peer knows the paths anyhow: nothing is kept from it that makes connections quicker.
func TestStrictPaired(t *testing.T) {
	s := agreed(t, Config{Paired: true, Privacy: PrivacyStrict}, 2)
	s.c.Abort(s.now)
	if got := strings.Join(s.left(), "\n"); !strings.Contains(got, "fastclose") {
		t.Error(got)
	}
}
