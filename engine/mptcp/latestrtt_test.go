package mptcp

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// L_RTT_EN: who asked for it is told the round trip when it is known, and when it has changed by an eighth.
func TestLatestRTT(t *testing.T) {
	s := newScript(t, false, Config{}, 1)
	s.b.Listen(80)
	s.recv("0 S 0 <capable v1 flags 01, latest_rtt>")
	s.c, _, _ = s.b.Next()
	s.accept()
	s.want("0 S. 0 ack 1 <capable v1 flags 01 key-B, latest_rtt>")
	s.advance(100 * ms)
	s.recv("0 . 1 ack 1 <capable v1 flags 01 key-A key-B>")
	s.skip()
	var told []string
	pos := 1
	round := func(took time.Duration) {
		s.write("0123456789")
		s.advance(took)
		pos += 10
		s.recv(fmt.Sprintf("0 . 1 ack %d <dss ack8 %d>", pos, pos))
		for _, line := range s.left() {
			if _, text, ok := strings.Cut(line, "latest_rtt "); ok {
				told = append(told, strings.TrimSuffix(text, ">"))
			}
		}
	}
	for range 4 {
		round(100 * ms)
	}
	if got := strings.Join(told, ", "); got != "100000 us" {
		t.Fatalf("told %s", got)
	}
	for range 6 {
		round(150 * ms)
	}
	if len(told) < 2 || len(told) > 4 {
		t.Errorf("told %v", told)
	}
	f := s.c.subflows[0]
	f.pulseAt = s.now
	for range 2 {
		f.toldRTT, f.tellRTT = 0, false
		f.pulse(s.now)
	}
	if f.tellRTT {
		t.Error("told twice in a round trip")
	}
}

// Nobody is told who did not ask, and the asker learns from what it is told.
func TestLatestRTTLearnt(t *testing.T) {
	s := asking(t, Config{Establish: IPS}, 2)
	s.want("0 S 0 <capable v1 flags 01, latest_rtt>", "1 S 0 <capable v1 flags 01, latest_rtt>")
	s.advance(500 * ms)
	s.recv("0 S. 0 ack 1 <capable v1 flags 01 key-B, latest_rtt>")
	s.recv("0 . 1 ack 1 <dss ack8 1, latest_rtt 30000>")
	s.skip()
	if x := s.b.lessons.find(s.now, place{s.b.place(target.Addr()), 0}); x == nil || x.rtt != 30*ms {
		t.Errorf("%+v", x)
	}
	s.recv("0 . 1 ack 1 <dss ack8 1, latest_rtt 0>", "0 . 1 ack 1 <dss ack8 1, latest_rtt>")
	if n := s.b.Counters().RTTReports; n != 1 {
		t.Errorf("%d reports", n)
	}
	s = newScript(t, true, Config{}, 2)
	s.b.cfg.Establish = Auto
	s.dial(DialOptions{})
	s.want("0 S 0 <capable v1 flags 01>", "1 S 0 <capable v1 flags 01>")
	s = newScript(t, true, Config{Paired: true, Establish: IPS}, 1) // the path knows
	s.dial(DialOptions{})
	s.want("0 S 0 <capable v1 flags 01>")
	s = dialled(t, Config{}, 1)
	s.recv("0 . 1 ack 1 <dss ack8 1, latest_rtt 30000>")
	if n := s.b.Counters().RTTReports; n != 0 {
		t.Errorf("%d reports to one who did not ask", n)
	}
}
