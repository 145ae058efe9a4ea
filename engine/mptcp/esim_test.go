package mptcp

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// merging returns the dialling end of RobE_eSIM, whose SYNs over two paths ask for it.
func merging(t *testing.T, cfg Config) *script {
	t.Helper()
	cfg.Establish = ESIM
	s := asking(t, cfg, 2)
	s.want("0 S 0 <capable v1 flags 01, robe>", "1 S 0 <capable v1 flags 01, robe>")
	s.advance(50 * ms)
	s.recv("1 S. 0 ack 1 <capable v1 flags 01 key-B, robe>")
	s.want("1 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
	s.changed(Established)
	return s
}

// RobE_eSIM: the slower path joins with its third ACK.
func TestESIM(t *testing.T) {
	s := merging(t, Config{})
	s.advance(50 * ms)
	s.recv(fmt.Sprintf("0 S. 0 ack 1 <capable v1 flags 01 %016x, robe>", uint64(keyC)))
	third := "0 . 1 ack 1 <" + capText(3, keyA, keyB, keyC) + ">"
	s.want(third)
	s.write("hello")
	s.want(`1 P. 1 ack 1 "hello" <capable v1 flags 01 key-A key-B len 5>`)
	s.recv("1 . 1 ack 6 <dss ack8 6>")
	s.want()
	s.advance(300 * ms)
	s.want(third) // until an answer comes
	s.recv("0 . 1 ack 1 <dss ack8 6>")
	s.want()
	s.living(2)
	s.b.Detach(s.now, 1)
	s.skip()
	s.write("more")
	s.want(`0 P. 1 ack 1 "more" <dss ack4 1 map4 6 ssn 1 len 4>`)
	s.recv(`0 P. 1 ack 5 "fine" <dss ack8 10 map8 1 ssn 1 len 4>`)
	s.read("fine")
}

// Whoever answers late without what was agreed on is reset, and joins as others do.
func TestESIMLateAnswerWithout(t *testing.T) {
	for name, answer := range map[string]string{
		"no robe":   fmt.Sprintf("<capable v1 flags 01 %016x>", uint64(keyC)),
		"no MPTCP":  "",
		"version 0": fmt.Sprintf("<capable v0 flags 01 %016x, robe>", uint64(keyC)),
		"no joins":  fmt.Sprintf("<capable v1 flags 21 %016x, robe>", uint64(keyC)),
	} {
		t.Run(name, func(t *testing.T) {
			s := merging(t, Config{})
			s.recv("1 . 1 ack 1 <dss ack8 1>")
			s.want()
			s.recv("0 S. 0 ack 1 " + answer)
			s.want("0 R 1 <reset unspecified transient>", "0 S 0 <join id 3 token token-B nonce nonce-A>")
			s.living(2)
		})
	}
}

// The winner's answer lacks what was asked for: RobE_SIM.
func TestESIMWinnerWithout(t *testing.T) {
	s := asking(t, Config{Establish: ESIM}, 2)
	s.skip()
	s.recv("1 S. 0 ack 1 <capable v1 flags 01 key-B>")
	s.wantAll("0 R 1 <reset unspecified transient>", "1 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
	s.recv("1 . 1 ack 1 <dss ack8 1>")
	s.want("0 S 0 <join id 3 token token-B nonce nonce-A>")
}

// A path that does not answer its SYN within a timeout of the winner's answer joins as others do.
func TestESIMSilentPath(t *testing.T) {
	s := merging(t, Config{})
	s.recv("1 . 1 ack 1 <dss ack8 1>")
	s.advance(949 * ms)
	s.want()
	s.advance(51 * ms)
	s.want("0 S 0 <capable v1 flags 01, robe>", "0 R 1 <reset unspecified transient>", "0 S 0 <join id 3 token token-B nonce nonce-A>")
}

// MP_JOIN_CAP that nobody answers is repeated three times.
func TestESIMThirdUnanswered(t *testing.T) {
	s := merging(t, Config{})
	s.recv("1 . 1 ack 1 <dss ack8 1>", fmt.Sprintf("0 S. 0 ack 1 <capable v1 flags 01 %016x, robe>", uint64(keyC)))
	s.advance(20 * second)
	caps, joins := 0, 0
	for _, line := range s.left() {
		caps += strings.Count(line, "join_cap")
		joins += strings.Count(line, "<join id")
	}
	if caps != 1+3 || joins == 0 {
		t.Fatalf("%d MP_JOIN_CAP, %d MP_JOIN", caps, joins)
	}
}

// The flow is refused: MP_JOIN takes its place, unless the peer says that it need not try.
func TestESIMRefused(t *testing.T) {
	for answer, again := range map[string]bool{
		"": true, "<reset 2 transient>": true, "<reset 1>": false,
	} {
		s := merging(t, Config{})
		s.recv("1 . 1 ack 1 <dss ack8 1>", fmt.Sprintf("0 S. 0 ack 1 <capable v1 flags 01 %016x, robe>", uint64(keyC)))
		s.skip()
		s.recv("0 R. 1 ack 1 " + answer)
		if got := s.left(); (len(got) == 1 && strings.Contains(got[0], "<join id 3")) != again {
			t.Errorf("%q: %v", answer, got)
		}
		s.advance(10 * second)
		if got := s.left(); !again && len(got) > 0 {
			t.Errorf("%q: %v", answer, got)
		}
	}
}

// Implicit: nothing is asked; the flow that lost carries nothing, and is reset when what comes on it is not MPTCP or
// nothing comes in time: the peer may have taken it for another connection.
func TestESIMImplicit(t *testing.T) {
	implicit := func() *script {
		s := asking(t, Config{Establish: ESIM, ImplicitESIM: true}, 2)
		s.want("0 S 0 <capable v1 flags 01>", "1 S 0 <capable v1 flags 01>")
		s.advance(50 * ms)
		s.recv("1 S. 0 ack 1 <capable v1 flags 01 key-B>", "1 . 1 ack 1 <dss ack8 1>")
		s.recv(fmt.Sprintf("0 S. 0 ack 1 <capable v1 flags 01 %016x>", uint64(keyC)))
		s.wantAll("1 . 1 ack 1 <dss ack4 1>", "0 . 1 ack 1 <"+capText(3, keyA, keyB, keyC)+">")
		return s
	}
	s := implicit()
	s.recv("0 . 1 ack 1 <dss ack8 1>")
	s.living(2)
	s.want()
	s = implicit()
	s.recv(`0 P. 1 ack 1 "220 hello"`)
	s.want("0 R. 1 ack 1 <reset unspecified transient>", "0 S 0 <join id 3 token token-B nonce nonce-A>")
	s.readNothing()
	s = implicit()
	s.recv("0 . 1 ack 1 <prio>")
	s.want("0 R. 1 ack 1 <reset unspecified transient>", "0 S 0 <join id 3 token token-B nonce nonce-A>")
	s = implicit()
	s.advance(second)
	if got := s.left(); len(got) < 2 || !strings.Contains(got[0], "0 R. 1 ack 1") || !strings.Contains(got[1], "<join id 3") {
		t.Error(got)
	}
}

// wantAll is want in any order.
func (s *script) wantAll(lines ...string) {
	s.t.Helper()
	var left []string
	for _, line := range s.left() {
		words := strings.Fields(line)
		i := slices.Index(words, "win")
		left = append(left, strings.Join(slices.Delete(words, i, i+2), " "))
	}
	slices.Sort(left)
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(names.Replace(line)), " ")
	}
	slices.Sort(lines)
	if !slices.Equal(left, lines) {
		s.t.Fatalf("\n got %s\nwant %s\n%s", strings.Join(left, "\n     "), strings.Join(lines, "\n     "), s.story())
	}
}

func (s *script) readNothing() {
	s.t.Helper()
	if got, err := s.take(); got != "" || err != nil {
		s.t.Fatalf("read %q, %v", got, err)
	}
}
