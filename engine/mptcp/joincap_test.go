package mptcp

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"tandem/engine/wire"
)

// merged is the answering end of a server with two addresses, asked over both with ROBE_eSIM_EN: two offers, of
// which each has a key of its own.
type merged struct {
	*script
	conns [2]*Conn
}

func newMerged(t *testing.T, cfg Config) *merged {
	t.Helper()
	s := &merged{script: newScript(t, false, cfg, 2)}
	s.b.Listen(80)
	for i := range s.conns {
		s.recv(fmt.Sprintf("%d S 0 <capable v1 flags 01, robe>", i))
		c, what, ok := s.b.Next()
		if !ok || what != Offered {
			t.Fatal("no offer")
		}
		s.conns[i], s.c = c, c
		s.accept()
		answer := fmt.Sprintf("%d S. 0 ack 1 <capable v1 flags 01 %016x", i, uint64(keyB+i))
		if !cfg.NoRobE {
			answer += ", robe"
		}
		s.want(answer + ">")
	}
	s.c = s.conns[0]
	return s
}

// capOf is the third ACK of path 1, whose key is keyB+1.
func capOf(key, keyB uint64) string {
	return "1 . 1 ack 1 <" + capText(3, key, keyB, 0x1112131415161719) + ">"
}

const thirdOfFirst = "0 . 1 ack 1 <capable v1 flags 01 key-A key-B>"

// accepted counts what the application was told of: connections established, connections ended before.
func (s *merged) accepted() (established int, ended []error) {
	for c, what, ok := s.b.Next(); ok; c, what, ok = s.b.Next() {
		if what&Established != 0 {
			established++
		}
		if what&Ended != 0 {
			ended = append(ended, c.Err())
		}
	}
	return established, ended
}

// The three constellations: MP_JOIN_CAP after the third ACK that it refers to, and before it. There is one
// connection with two subflows, and the other flow never was one.
func TestJoinCap(t *testing.T) {
	for name, order := range map[string][]string{
		"third ACK first":   {thirdOfFirst, capOf(keyA, keyB)},
		"MP_JOIN_CAP first": {capOf(keyA, keyB), thirdOfFirst},
		"third ACK lost":    {capOf(keyA, keyB), "0 . 1 ack 1 <dss ack8 1>"},
		"repeated":          {thirdOfFirst, capOf(keyA, keyB), capOf(keyA, keyB), thirdOfFirst},
	} {
		t.Run(name, func(t *testing.T) {
			s := newMerged(t, Config{})
			s.recv(order...)
			if n, ended := s.accepted(); n != 1 || len(ended) != 1 || ended[0] != ErrMerged {
				t.Fatalf("%d established, ended: %v", n, ended)
			}
			s.living(2)
			s.want("1 . 1 ack 1 <dss ack4 1>")
			if n := s.b.Counters(); n.JoinCaps != 1 || n.BadJoinCap != 0 || n.Resets != 0 {
				t.Errorf("%+v", n)
			}
			s.recv(`1 P. 1 ack 1 "hello" <dss ack8 1 map8 1 ssn 1 len 5>`, `0 P. 1 ack 1 "world" <dss ack8 1 map8 6 ssn 1 len 5>`)
			s.read("helloworld")
			s.skip()
			s.write("fine")
			s.skip()
			if len(s.b.half) != 0 || len(s.b.keyed) != 1 {
				t.Errorf("%d half open, %d by key", len(s.b.half), len(s.b.keyed))
			}
			s.c.Abort(s.now)
			s.advance(300 * second)
			s.left()
			if len(s.b.keyed) != 0 || len(s.b.flows) != 0 || len(s.b.timers.heap) != 0 {
				t.Error("something is left")
			}
		})
	}
}

// The other flow won: roles are swapped.
func TestJoinCapOfTheFirst(t *testing.T) {
	s := newMerged(t, Config{})
	s.recv(fmt.Sprintf("1 . 1 ack 1 <capable v1 flags 01 key-A %016x>", uint64(keyB+1)))
	s.recv("0 . 1 ack 1 <" + capText(1, keyA, keyB+1, keyB) + ">")
	if n, ended := s.accepted(); n != 1 || len(ended) != 1 || s.conns[0].phase != over || len(s.conns[1].subflows) != 2 {
		t.Fatalf("%d established, ended %v", n, ended)
	}
}

// What proves nothing is reset, and the connection it names goes on.
func TestBadJoinCap(t *testing.T) {
	good := wire.JoinCap{Length: 24, AddressID: 3, Key: keyA}
	good.Sign(keyB, keyB+1)
	for name, spoil := range map[string]func(j *wire.JoinCap){
		"MAC":               func(j *wire.JoinCap) { j.MAC[0] ^= 1 },
		"another key":       func(j *wire.JoinCap) { j.Key++ },
		"fast hash":         func(j *wire.JoinCap) { j.MAC[11] ^= 1 },
		"key of the server": func(j *wire.JoinCap) { j.Sign(keyB+7, keyB+1) },
		"its own flow":      func(j *wire.JoinCap) { j.Sign(keyB+1, keyB+1) },
	} {
		for _, early := range []bool{false, true} {
			s := newMerged(t, Config{})
			if !early {
				s.recv(thirdOfFirst)
			}
			j := good
			spoil(&j)
			o := wire.Options{Has: wire.HasJoinCap, JoinCap: j}
			s.recv("1 . 1 ack 1 <" + o.String() + ">")
			s.want("1 R. 1 ack 1 <reset MPTCP error>")
			if early {
				s.recv(thirdOfFirst)
			}
			if n, _ := s.accepted(); n != 1 || s.b.Counters().BadJoinCap != 1 || s.conns[1].phase != over {
				t.Errorf("%s, early %v: %d established, %+v", name, early, n, s.b.Counters())
			}
			s.living(1)
		}
	}
}

// Several connections may have clients with equal keys: the MAC tells which is meant, and how many are asked is
// bounded.
func TestJoinCapOfEqualKeys(t *testing.T) {
	for _, others := range []int{1, capMACs - 1, capMACs, capMACs + 2} {
		s := newScript(t, false, Config{}, 2)
		s.b.Listen(80)
		asker := s.ends[0].remote.Addr()
		var conns []*Conn
		for i := range others + 2 { // the last one is the flow that joins the one before
			path := 0
			if i == others+1 {
				path = 1
			}
			s.ends[PathID(path)].remote = netip.AddrPortFrom(asker, uint16(7000+i))
			s.recv(fmt.Sprintf("%d S 0 <capable v1 flags 01, robe>", path))
			for what := Change(0); what&Offered == 0; {
				s.c, what, _ = s.b.Next()
			}
			conns = append(conns, s.c)
			s.accept()
			s.skip()
			if path == 0 {
				s.recv(fmt.Sprintf("0 . 1 ack 1 <capable v1 flags 01 key-A %016x>", uint64(keyB+i)))
			}
			s.skip()
		}
		s.recv("1 . 1 ack 1 <" + capText(3, keyA, uint64(keyB+others), uint64(keyB+others+1)) + ">")
		joined := len(conns[others].subflows) == 2
		if want := others < capMACs; joined != want {
			t.Errorf("%d others: joined %v", others, joined)
		}
		if n := s.b.Counters().LimitJoinCap; n != uint64(one(others >= capMACs)) {
			t.Errorf("%d others: limit hit %d times", others, n)
		}
	}
}

// A server that does not know RobE, or does not want others to join, does not agree; what comes all the same is not
// taken for a join.
func TestRobENotAgreed(t *testing.T) {
	for _, cfg := range []Config{{NoRobE: true}, {RefuseJoins: true}, {NoJoinsHere: true}, {Plain: true}} {
		s := newScript(t, false, cfg, 1)
		s.b.Listen(80)
		s.recv("0 S 0 <capable v1 flags 01, robe, latest_rtt>")
		s.c, _, _ = s.b.Next()
		s.accept()
		if got := s.left(); strings.Contains(got[0], "robe") || cfg.NoRobE && strings.Contains(got[0], "latest_rtt") {
			t.Errorf("%s", got[0])
		}
		s.recv("0 . 1 ack 1 <" + capText(0, keyA, keyB, keyB) + ">")
		switch {
		case cfg.NoRobE || cfg.Plain:
			s.living(1) // of TCP: RFC 8684 3.1
			if !s.c.plain() {
				t.Error("not plain")
			}
		default:
			s.want("0 R. 1 ack 1 <reset prohibited>")
		}
	}
}

// Between Paired ends all flows of an offer have one key. Octets that rode in several SYNs come once, and do not
// count in the data sequence of either subflow.
func TestESIMPaired(t *testing.T) {
	third, joins := "0 . 6 ack 1 <capable v1 flags 01 key-A key-B>", "1 . 6 ack 1 <"+capText(3, keyA, keyB, keyB)+">"
	for _, order := range [][]string{{third, joins}, {joins, third}} {
		s := pairedOffer(t, Config{}, `0 S 0 "GET /" <capable v1 flags 01, robe>`)
		s.recv(`1 S 0 "GET /" <capable v1 flags 01, robe>`)
		s.read("GET /")
		s.accept()
		s.want("0 S. 0 ack 6 <capable v1 flags 01 key-B, robe>", "1 S. 0 ack 6 <capable v1 flags 01 key-B, robe>")
		s.recv(order...)
		if got := strings.Join(s.left(), "\n"); !strings.Contains(got, "1 . 1 ack 6") {
			t.Errorf("the flow that joins is not told: %v", got)
		}
		s.living(2)
		if s.c.id.initial.path.id != 0 {
			t.Error("the other flow is the initial one")
		}
		s.recv(`1 . 6 ack 1 "more" <dss ack8 1 map8 1 ssn 1 len 4>`, `0 . 6 ack 1 "data" <dss ack8 1 map8 5 ssn 1 len 4>`)
		s.read("moredata")
	}
}

// Of three flows any of two may be the first when MP_JOIN_CAP comes before its third ACK: it is taken when that has
// come.
func TestESIMPairedOfThree(t *testing.T) {
	s := pairedOffer(t, Config{}, "0 S 0 <capable v1 flags 01, robe>", "1 S 0 <capable v1 flags 01, robe>", "2 S 0 <capable v1 flags 01, robe>")
	s.accept()
	s.skip()
	joins := "1 . 1 ack 1 <" + capText(3, keyA, keyB, keyB) + ">"
	s.recv(joins)
	s.want()
	if s.c.phase != opening || s.b.Counters().BadJoinCap != 0 {
		t.Fatal("guessed")
	}
	s.recv("2 . 1 ack 1 <capable v1 flags 01 key-A key-B>", joins)
	s.wantAll("1 . 1 ack 1 <dss ack4 1>", "2 . 1 ack 1 <dss ack4 1>")
	s.living(3)
	s.advance(60 * second)
	s.skip()
	s.living(2) // the third never came
}

// A SYN that lost the race is reset before its third ACK: nobody accepts a second connection.
func TestSIMLoserIsNotAccepted(t *testing.T) {
	s := newMerged(t, Config{})
	s.recv(thirdOfFirst, "1 R 1 <reset 0 transient>")
	if n, ended := s.accepted(); n != 1 || len(ended) != 1 || ended[0] != ErrReset {
		t.Fatalf("%d established, ended %v", n, ended)
	}
	s.living(1)
}

// Something takes MP_JOIN_CAP away: an ACK without any option ends no handshake of RobE_eSIM at once, octets do.
func TestESIMThirdWithoutOption(t *testing.T) {
	s := newMerged(t, Config{})
	s.recv(thirdOfFirst)
	for range bareAnswers {
		s.recv("1 . 1 ack 1")
		if n, _ := s.accepted(); s.conns[1].phase != opening || n > 1 {
			t.Fatal("accepted")
		}
		for again := false; !again; {
			s.advance(100 * ms)
			for _, line := range s.left() {
				again = again || strings.HasPrefix(line, "1 S.")
			}
		}
	}
	s.recv("1 . 1 ack 1")
	if s.conns[1].phase != open || !s.conns[1].plain() {
		t.Fatal("never accepted")
	}
	s = newMerged(t, Config{})
	s.recv(`1 . 1 ack 1 "hello"`)
	if s.conns[1].phase != open || !s.conns[1].plain() {
		t.Fatal("not accepted with octets")
	}
}

// SYNs that come late may wait for their third ACK in limited numbers.
func TestLateSYNsAreLimited(t *testing.T) {
	s := newScript(t, false, Config{Paired: true, Limits: Limits{HalfOpen: 2}}, 4)
	for _, end := range s.ends {
		end.local = netip.MustParseAddrPort("198.51.100.9:443")
	}
	s.recv("0 S 0 <capable v1 flags 01, robe>")
	s.c, _, _ = s.b.Next()
	s.accept()
	s.skip()
	s.recv("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
	s.skip()
	for i := 1; i <= 3; i++ {
		s.recv(fmt.Sprintf("%d S 0 <capable v1 flags 01, robe>", i))
	}
	s.wantAll("1 S. 0 ack 1 <capable v1 flags 01 key-B, robe>", "2 S. 0 ack 1 <capable v1 flags 01 key-B, robe>", "3 R. zero ack 1 <reset unspecified>")
	if n := s.b.Counters().LimitHalfOpen; n != 1 || len(s.c.subflows) != 3 {
		t.Errorf("limit hit %d times, %d subflows", n, len(s.c.subflows))
	}
}

// The dialling end of that.
func TestESIMPairedDial(t *testing.T) {
	s := newScript(t, true, Config{Paired: true, Establish: ESIM}, 2)
	s.dial(DialOptions{})
	s.write("GET /")
	s.want(`0 S 0 "GET /" <capable v1 flags 01, robe>`, `1 S 0 "GET /" <capable v1 flags 01, robe>`)
	s.recv("1 S. 0 ack 6 <capable v1 flags 01 key-B, robe>", "0 S. 0 ack 6 <capable v1 flags 01 key-B, robe>")
	s.wantAll("0 . 6 ack 1 <"+capText(3, keyA, keyB, keyB)+">", "1 . 6 ack 1 <capable v1 flags 01 key-A key-B>")
	s.recv("0 . 1 ack 6 <dss ack8 1>")
	s.living(2)
	s.b.Detach(s.now, 1)
	s.skip()
	s.write("more")
	s.want(`0 . 6 ack 1 "more" <dss ack4 1 map4 1 ssn 1 len 4>`)
}

// A SYN that took a longer way joins a connection that is established already.
func TestESIMPairedLateSYN(t *testing.T) {
	for _, robe := range []string{", robe", ""} {
		s := pairedOffer(t, Config{}, `0 S 0 "GET /" <capable v1 flags 01, robe>`)
		s.accept()
		s.skip()
		s.recv("0 . 6 ack 1 <capable v1 flags 01 key-A key-B>")
		s.read("GET /")
		s.skip()
		s.recv(`1 S 0 "GET /" <capable v1 flags 01` + robe + `>`)
		if n := s.b.counters; robe == "" && (n.RobeOffers != 1 || n.LateOffers != 1) || robe != "" && (n.RobeOffers != 2 || n.LateOffers != 0) {
			t.Errorf("%q: RobeOffers is %d, LateOffers %d", robe, n.RobeOffers, n.LateOffers)
		}
		if robe == "" {
			s.want("1 R. zero ack 6 <reset unspecified>")
			continue
		}
		s.want("1 S. 0 ack 6 <capable v1 flags 01 key-B, robe>")
		s.recv("1 . 6 ack 1 <" + capText(3, keyA, keyB, keyB) + ">")
		s.want("1 . 1 ack 6 <dss ack4 1>")
		s.living(2)
		s.readNothing()
	}
}

// A connection that fell back to TCP cannot be joined.
func TestJoinCapOfPlain(t *testing.T) {
	s := newMerged(t, Config{})
	s.recv(thirdOfFirst, `0 . 1 ack 1 "hello"`)
	s.skip()
	if !s.c.plain() {
		t.Fatal("no fallback")
	}
	s.recv(capOf(keyA, keyB))
	s.want("1 R. 1 ack 1 <reset MPTCP error>")
}

// Octets that rode in the SYN of another offer cannot be moved to this one.
func TestJoinCapOfAnotherOffer(t *testing.T) {
	for _, text := range []string{`"GET /" `, ""} {
		s := pairedOffer(t, Config{}, "0 S 0 <capable v1 flags 01, robe>")
		first := s.c
		s.accept()
		s.skip()
		s.recv("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
		s.skip()
		s.ends[1].remote = netip.AddrPortFrom(s.ends[1].remote.Addr(), 5001)
		s.recv("1 S 0 " + text + "<capable v1 flags 01, robe>")
		for s.c = first; s.c == first; {
			s.c, _, _ = s.b.Next()
		}
		s.accept()
		s.skip()
		next := 1 + len(strings.Trim(text, `" `))
		s.recv(fmt.Sprintf("1 . %d ack 1 <%s>", next, capText(3, keyA, keyB, keyB+1)))
		if joined := len(first.subflows) == 2; joined != (text == "") {
			t.Errorf("%q: joined %v", text, joined)
		}
	}
}

// A flow whose SYN did not ask for it cannot be the first of those that do, and is reset.
func TestJoinCapBesideOthers(t *testing.T) {
	s := pairedOffer(t, Config{}, "0 S 0 <capable v1 flags 01, robe>", "1 S 0 <capable v1 flags 01, robe>", "2 S 0 <capable v1 flags 01>")
	s.accept()
	s.skip()
	s.recv("1 . 1 ack 1 <" + capText(3, keyA, keyB, keyB) + ">")
	s.wantAll("1 . 1 ack 1 <dss ack4 1>", "2 R. 1 ack 1 <reset unspecified transient>")
	s.living(2)
}

// The answer to MP_JOIN_CAP leaves though the window has nothing new to say.
func TestJoinCapIsAnswered(t *testing.T) {
	s := newMerged(t, Config{Limits: Limits{RecvBuffer: promiseLeast}})
	s.recv(thirdOfFirst)
	s.skip()
	s.recv(capOf(keyA, keyB))
	s.want("1 . 1 ack 1 <dss ack4 1>")
}

// Octets acknowledged by somebody who says nothing of MPTCP: it is TCP over the flow that won, and a flow that only
// waits to join is reset.
func TestESIMFallsBack(t *testing.T) {
	s := merging(t, Config{})
	s.write("hello")
	s.skip()
	s.recv(`1 . 1 ack 6 "world"`)
	s.wantAll("0 R 1", "1 . 6 ack 6 <dss map8 1 ssn 1 len 0>")
	s.read("world")
	if s.living(1); !s.c.plain() {
		t.Error("no fallback")
	}
}

// A peer that wants no joins towards its address is not joined with MP_JOIN_CAP either.
func TestESIMWithoutJoins(t *testing.T) {
	s := asking(t, Config{Establish: ESIM}, 2)
	s.skip()
	s.recv("1 S. 0 ack 1 <capable v1 flags 21 key-B, robe>")
	s.wantAll("0 R 1 <reset unspecified transient>", "1 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
}

// Paths that are to be spared race only where there is no choice.
func TestRacersByRole(t *testing.T) {
	for backups, want := range map[int]string{0: "012", 1: "01", 2: "01", 3: "012"} {
		s := newScript(t, true, Config{Establish: SIM}, 3)
		for i := range backups {
			s.b.SetRole(s.now, PathID(2-i), Backup)
		}
		s.dial(DialOptions{})
		if got := s.asked(); got != want {
			t.Errorf("%d backups: asks %s, want %s", backups, got, want)
		}
	}
	s := newScript(t, true, Config{Establish: SIM}, 3)
	s.b.path(1).silent = true
	s.dial(DialOptions{})
	if got := s.asked(); got != "02" {
		t.Errorf("asks %s when one is silent", got)
	}
}

// MP_JOIN_CAP has no flag for a backup: MP_PRIO says it.
func TestESIMBackup(t *testing.T) {
	s := newScript(t, true, Config{Establish: ESIM}, 2)
	s.b.SetRole(s.now, 0, Backup)
	s.dial(DialOptions{})
	s.skip()
	s.recv("1 S. 0 ack 1 <capable v1 flags 01 key-B, robe>", fmt.Sprintf("0 S. 0 ack 1 <capable v1 flags 01 %016x, robe>", uint64(keyC)))
	s.skip()
	s.recv("0 . 1 ack 1 <dss ack8 1>")
	s.want("0 . 1 ack 1 <dss ack4 1, prio backup>")
}

// A connection that ends takes back the SYNs that were not answered.
func TestESIMEndsBeforeAllAnswered(t *testing.T) {
	s := merging(t, Config{})
	s.recv("1 . 1 ack 1 <dss ack8 1 map8 1 ssn 0 len 1 fin>")
	s.c.CloseWrite(s.now)
	s.skip()
	s.recv("1 F. 1 ack 1 <dss ack8 2>")
	got := strings.Join(s.left(), "\n")
	if s.over(nil); !strings.Contains(got, "0 R 1 ") || !strings.Contains(got, "1 F. 1 ack 2") {
		t.Error(got)
	}
}

// Octets in the SYN that the peer did not take cannot go again on a flow that joins.
func TestESIMPairedDialOtherOctets(t *testing.T) {
	s := newScript(t, true, Config{Paired: true, Establish: ESIM}, 2)
	s.dial(DialOptions{})
	s.write("GET /")
	s.skip()
	s.recv("1 S. 0 ack 6 <capable v1 flags 01 key-B, robe>", "0 S. 0 ack 1 <capable v1 flags 01 key-B, robe>")
	s.wantAll("0 R 6 <reset unspecified transient>", "1 . 6 ack 1 <capable v1 flags 01 key-A key-B>")
}
