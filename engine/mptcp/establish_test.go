package mptcp

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"tandem/engine/wire"
)

// keyC is the peer's on a flow that another is quicker than, of a server that knows each as a connection.
const keyC = 0x2122232425262728

// capText is MP_JOIN_CAP of the client of the examples, on a flow of which the server's key is other.
func capText(id uint8, key, keyB, other uint64) string {
	j := wire.JoinCap{Length: 24, AddressID: id, Key: key}
	j.Sign(keyB, other)
	o := wire.Options{Has: wire.HasJoinCap, JoinCap: j}
	return o.String()
}

// asking returns a bond that has dialled over paths with that mode.
func asking(t *testing.T, cfg Config, paths int) *script {
	t.Helper()
	s := newScript(t, true, cfg, paths)
	s.b.cfg.Establish = cfg.Establish
	s.dial(DialOptions{})
	return s
}

func TestEstablishNames(t *testing.T) {
	for e := Auto; e <= IPSSIM; e++ {
		if got, ok := ParseEstablish(e.String()); !ok || got != e {
			t.Errorf("%v is read as %v, %v", e, got, ok)
		}
	}
	if e, ok := ParseEstablish("race"); ok || e != Auto || Establish(99).String() != "unknown" {
		t.Error("what is no mode")
	}
}

// Classic keeps to its path, whatever becomes of it.
func TestClassic(t *testing.T) {
	for _, paired := range []bool{false, true} {
		s := newScript(t, true, Config{Establish: Classic, Paired: paired}, 2)
		s.dial(DialOptions{})
		s.advance(20 * second)
		for _, line := range s.left() {
			if line[0] != '0' {
				t.Fatalf("paired %v: %s", paired, line)
			}
		}
	}
}

// RobE_TIMER: a SYN that times out is followed by one over another path, and the path that failed joins as soon as
// that is allowed, from another port: nobody knows what became of the SYN.
func TestTimer(t *testing.T) {
	s := asking(t, Config{Establish: Timer}, 2)
	s.want("0 S 0 <capable v1 flags 01>")
	s.advance(999 * ms)
	s.want()
	s.advance(1 * ms)
	s.wantAll("0 S 0 <capable v1 flags 01>", "1 S 0 <capable v1 flags 01>")
	first := s.ends[0].local.Port()
	s.advance(50 * ms)
	s.recv("1 S. 0 ack 1 <capable v1 flags 01 key-B>")
	s.wantAll("0 R 1 <reset unspecified transient>", "1 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
	s.changed(Established)
	s.recv(fmt.Sprintf("0 S. 0 ack 1 <capable v1 flags 01 %016x>", uint64(keyC)))
	s.want("0 R 1 <reset unspecified transient>")
	s.recv("1 . 1 ack 1 <dss ack8 1>")
	s.want("0 S 0 <join id 3 token token-B nonce nonce-A>")
	if s.ends[0].local.Port() == first || s.ends[1].local.Port() != first {
		t.Errorf("ports %v, %v, %v", first, s.ends[0].local, s.ends[1].local)
	}
	if n := s.b.Counters(); n.Switches != 1 || n.Races != 0 {
		t.Errorf("%+v", n)
	}
}

// The first SYN may be answered late: as long as no other was, it wins.
func TestTimerLateAnswerWins(t *testing.T) {
	s := asking(t, Config{Establish: Timer}, 3)
	s.advance(2500 * ms)
	if got := s.asked(); strings.Count(got, "1") == 0 || strings.Count(got, "2") == 0 {
		t.Fatalf("SYNs over %s", got)
	}
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B>")
	s.wantAll("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>", "1 R 1 <reset unspecified transient>", "2 R 1 <reset unspecified transient>")
}

// Who was refused over one path does not ask there again while another may be answered, and is refused when that is too.
func TestTimerRefused(t *testing.T) {
	s := asking(t, Config{Establish: Timer}, 2)
	s.advance(1100 * ms)
	if got := s.asked(); strings.Count(got, "1") != 1 {
		t.Fatalf("asks %s", got)
	}
	s.recv("0 R. 0 ack 1")
	s.advance(10 * second)
	if got := s.asked(); strings.Contains(got, "0") {
		t.Errorf("asks %s after a refusal", got)
	}
	s.recv("1 R. 0 ack 1")
	s.over(ErrRefused)
}

// RobE_SIM: the first answer wins, whichever path brings it; the other path is reset before any data, and joins.
func TestSIM(t *testing.T) {
	for first := range 2 {
		s := asking(t, Config{Establish: SIM}, 2)
		s.want("0 S 0 <capable v1 flags 01>", "1 S 0 <capable v1 flags 01>")
		s.write("GET /")
		s.want()
		s.advance(100 * ms)
		s.recv(fmt.Sprintf("%d S. 0 ack 1 <capable v1 flags 01 key-B>", first))
		left := s.left()
		data := slices.IndexFunc(left, func(line string) bool { return strings.Contains(line, `"GET /"`) })
		if reset := slices.IndexFunc(left, func(line string) bool { return strings.Contains(line, " R 1 ") }); reset < 0 || data < reset {
			t.Errorf("no reset before data: %q", left)
		}
		s.out = left
		s.wantAll(
			fmt.Sprintf("%d . 1 ack 1 <capable v1 flags 01 key-A key-B>", first),
			fmt.Sprintf(`%d . 1 ack 1 "GET /" <capable v1 flags 01 key-A key-B len 5>`, first),
			fmt.Sprintf("%d R 1 <reset unspecified transient>", 1-first),
		)
		s.recv(fmt.Sprintf("%d S. 0 ack 1 <capable v1 flags 01 %016x>", 1-first, uint64(keyC)))
		s.want(fmt.Sprintf("%d R 1 <reset unspecified transient>", 1-first))
		s.recv(fmt.Sprintf("%d . 1 ack 6 <dss ack8 6>", first))
		s.want(fmt.Sprintf("%d S 0 <join id 3 token token-B nonce nonce-A>", 1-first))
		if info := s.b.Paths(s.now); info[first].Won != 1 || info[1-first].Won != 0 {
			t.Errorf("%+v", info)
		}
		if !strings.Contains(s.c.Trace(), "SYN over 2 paths, sim") || !strings.Contains(s.c.Trace(), fmt.Sprintf("path %d: answered first of 2", first)) {
			t.Error(s.c.Trace())
		}
	}
}

// A race costs the server at most two SYNs more.
func TestRacersAreLimited(t *testing.T) {
	s := asking(t, Config{Establish: SIM}, 5)
	if n := len(s.left()); n != 1+2 { // two extra
		t.Fatalf("%d SYNs", n)
	}
	s.advance(2 * second)
	if got := strings.Join(s.left(), "\n"); !strings.Contains(got, "3 S 0") {
		t.Errorf("the other paths are never asked\n%s", got)
	}
}

// A server without MPTCP has one connection of TCP in the end, and nobody joins.
func TestSIMWithoutMPTCP(t *testing.T) {
	for _, mode := range []Establish{SIM, ESIM} {
		s := asking(t, Config{Establish: mode}, 2)
		s.skip()
		s.recv("1 S. 0 ack 1")
		s.wantAll("0 R 1", "1 . 1 ack 1")
		s.write("hello")
		s.want(`1 P. 1 ack 1 "hello"`)
		s.recv(`1 P. 1 ack 6 "world"`, "0 S. 0 ack 1")
		s.read("world")
		s.wantAll("0 R 1", "1 . 6 ack 6")
		s.living(1)
	}
}

// To begin with no path in particular is to begin with any.
func TestBeginWithNone(t *testing.T) {
	for _, only := range [][]PathID{nil, {1}} {
		s := newScript(t, true, Config{}, 2)
		s.dial(DialOptions{Paths: []PathID{}, Only: only})
		if got, want := s.asked(), map[bool]string{true: "0", false: "1"}[only == nil]; got != want {
			t.Errorf("asks %s, want %s", got, want)
		}
	}
}
