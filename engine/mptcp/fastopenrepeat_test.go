package mptcp

import (
	"fmt"
	"strings"
	"testing"
)

// Linux maps nothing of what its SYN brought, taken or not, and counts from behind it: no octet is lost by that, whichever
// segment comes first, whatever became of the SYN, and however the first mapping is told.
func TestFastOpenRepeatedWithoutMapping(t *testing.T) {
	const n, more = 600, 20
	mapped := func(form string) string {
		return fmt.Sprintf("0 . %d:%d ack 1 ", n+1, n+1+more) + fmt.Sprintf(form, more)
	}
	third := "0 . 1 ack 1 " + thirdA
	capable := mapped("<capable v1 flags 01 key-A key-B len %d>")
	dss := mapped("<dss ack8 1 map8 1 ssn 1 len %d>")
	for _, x := range []struct {
		name  string
		lines []string // again is what was not taken
	}{
		{"in order", []string{"again", capable, "again"}},
		{"the mapping overtakes", []string{capable, "again"}},
		{"a third ACK alone, and what was not taken", []string{third, "again", capable}},
		{"the same, with DSS", []string{third, "again", dss}},
		{"a third ACK alone, and the mapping", []string{third, capable, "again"}},
		{"the same, with DSS again", []string{third, dss, "again"}},
		{"what was not taken, a third ACK, and a mapping", []string{"again", third, dss, "again"}},
	} {
		for _, room := range []int{0, 500} { // that take none of the SYN, and some
			for _, arrives := range []int{room, n} { // the rest is cut on its way
				cfg := fast
				cfg.Limits.RecvBuffer = room
				s, cookie := serving(t, cfg, 1)
				syn := hasty(cookie, arrives)
				switch {
				case room == 0 && arrives == 0: // only the second SYN came
					syn = "0 S 0 <capable v1 flags 01>"
				case room == 0:
					syn = hasty(cookieA, arrives) // of somebody else
				}
				s.offer(syn)
				s.accept()
				s.read(string(octets(0, room)))
				s.skip()
				for _, line := range x.lines {
					switch line {
					case "again":
						line = fmt.Sprintf("0 . %d:%d ack 1 <dss ack8 1>", room+1, n+1)
					case third:
						line = strings.Replace(third, "0 . 1 ", fmt.Sprintf("0 . %d ", room+1), 1)
					}
					s.recv(line)
					s.skip()
					if ack := int32(s.last.Options.DSS.Ack - s.peer); s.last.Options.DSS.HasAck && ack < 1 {
						t.Errorf("%s, room %d: DATA_ACK %d after %s", x.name, room, ack, line)
					}
				}
				s.read(string(octets(room+1, n+1+more)))
				s.skip()
				if ack := uint32(s.last.Options.DSS.Ack - s.peer); ack != 1+more {
					t.Errorf("%s, room %d: DATA_ACK %d", x.name, room, ack)
				}
				s.recv(fmt.Sprintf("0 . %d ack 1 <dss ack8 1 map8 %d len 1 fin>", n+1+more, 1+more))
				if i := s.c.Info(s.now); i.Received != n+more || i.Fallback || !s.c.rcv.finished {
					t.Errorf("%s, room %d, %d arrive: %+v\n%s", x.name, room, arrives, i, s.story())
				}
			}
		}
	}
}

// All that a peer writes may be in its SYN: it is delivered when that goes again, and nothing with a mapping comes.
func TestFastOpenRepeatedAlone(t *testing.T) {
	for _, lines := range [][]string{
		{"0 . 1:601 ack 1 <dss ack8 1>", "0 . 601 ack 1 " + thirdA, "0 . 1:601 ack 1 <dss ack8 1>"},
		{"0 . 1 ack 1 " + thirdA, "0 . 1:601 ack 1 <dss ack8 1>"},
	} {
		s, _ := serving(t, fast, 1)
		s.offer(hasty(cookieA, 600))
		s.accept()
		s.skip()
		s.recv(lines...)
		s.read(string(octets(1, 601)))
		s.recv("0 . 601 ack 1 <dss ack8 1 map8 1 len 1 fin>")
		if i := s.c.Info(s.now); i.Received != 600 || i.Fallback || !s.c.rcv.finished {
			t.Errorf("%q: %+v\n%s", lines, i, s.story())
		}
	}
}

// A peer that keeps to RFC 8684 B maps what goes again; its segments may be cut, and come in any order.
func TestFastOpenRepeatedWithMapping(t *testing.T) {
	first := "<capable v1 flags 01 key-A key-B len 600>"
	for _, lines := range [][]string{
		{"0 . 1:601 ack 1 " + first, "0 . 601:621 ack 1 <dss ack8 1 map8 601 ssn 601 len 20>"},
		{"0 . 1 ack 1 " + thirdA, "0 . 301:601 ack 1 " + first, "0 . 1:301 ack 1 " + first, "0 . 601:621 ack 1 <dss ack8 1 map8 601 ssn 601 len 20>"},
		{"0 . 1 ack 1 " + thirdA, "0 . 601:621 ack 1 <dss ack8 1 map8 601 ssn 601 len 20>", "0 . 1:601 ack 1 <dss ack8 1 map8 1 ssn 1 len 600>"},
	} {
		for _, syn := range []string{hasty(cookieA, 600), "0 S 0 <capable v1 flags 01>"} {
			s, _ := serving(t, fast, 1)
			s.offer(syn)
			s.accept()
			s.skip()
			s.recv(lines...)
			s.read(string(octets(1, 621)))
			s.skip()
			if ack := uint32(s.last.Options.DSS.Ack - s.peer); ack != 621 {
				t.Errorf("%q: DATA_ACK %d", lines, ack)
			}
			if i := s.c.Info(s.now); i.Received != 620 || i.Fallback {
				t.Errorf("%q: %+v\n%s", lines, i, s.story())
			}
		}
	}
}

// A mapping may cover several segments, and these may come in any order: what overtakes its mapping is no part of a SYN,
// whether this end takes octets there or not.
func TestOvertakenMappingIsNoSYN(t *testing.T) {
	first := "<capable v1 flags 01 key-A key-B len 600>"
	for _, cfg := range []Config{fast, {}} {
		for _, lines := range [][]string{
			{"0 . 301:601 ack 1 <dss ack8 1>", "0 . 1:301 ack 1 <dss ack8 1 map8 1 ssn 1 len 600>"},
			{"0 . 301:601 ack 1 <dss ack8 1>", "0 . 1:301 ack 1 " + first},
			{"0 . 1:301 ack 1 <dss ack8 1 map8 1 ssn 1 len 600>", "0 . 301:601 ack 1 <dss ack8 1>"},
		} {
			s, _ := serving(t, cfg, 1)
			s.offer("0 S 0 <capable v1 flags 01>")
			s.accept()
			s.skip()
			s.recv("0 . 1 ack 1 " + thirdA)
			s.recv(lines...)
			s.recv("0 . 601:621 ack 1 <dss ack8 1 map8 601 ssn 601 len 20>")
			s.read(string(octets(1, 621)))
			s.skip()
			if ack := uint32(s.last.Options.DSS.Ack - s.peer); ack != 621 {
				t.Errorf("%q: DATA_ACK %d", lines, ack)
			}
		}
	}
}
