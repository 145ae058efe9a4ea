package tcp

import (
	"fmt"
	"testing"
	"time"
)

// RFC 5482: the user timeout counts from when the octets left, whatever the number of retransmissions.
func TestUserTimeout(t *testing.T) {
	for _, c := range []struct{ timeout, ends time.Duration }{
		{200 * ms, 300 * ms}, {301 * ms, 301 * ms}, {second, second}, {2100 * ms, 2100 * ms}, {6 * time.Hour, 6 * time.Hour},
	} {
		s := established(t, "<mss 1400>", func(c *Config) { c.Retries = 2 })
		s.sub.SetUserTimeout(c.timeout)
		s.push(100)
		s.want("P. 1:101 ack 1")
		if s.path.RTO() != 300*ms {
			t.Fatalf("timeout %v", s.path.RTO())
		}
		left := s.now
		for s.sub.State() != Closed {
			s.advance(s.sub.Deadline().Sub(s.now))
			s.transmit()
		}
		s.wantState(Closed, ErrTimeout)
		if got := s.now.Sub(left); got != c.ends {
			t.Errorf("%v ends after %v", c.timeout, got)
		}
	}
	s := established(t, "<mss 1400>", nil)
	s.sub.SetUserTimeout(second)
	for i := range 5 {
		s.push(100)
		s.transmit()
		s.advance(600 * ms)
		s.transmit()
		s.recv(fmt.Sprintf(". 1 ack %d", 101+100*i))
	}
	s.wantState(Established, nil)
}

// RFC 8684 3.4: an acknowledgement that left for an option of MPTCP other than DSS is no duplicate: three do not have a
// segment sent again, nor does one end a doubt.
func TestSignalsAreNoDuplicates(t *testing.T) {
	for _, x := range []struct {
		option string
		counts bool
	}{{"dss", true}, {"prio", false}, {"dss,prio", false}} {
		line := " <" + x.option + ">"
		s := flying(t, 5, "", func(c *Config) { c.NoSACK = true })
		for range dupThresh {
			s.recv(". 1 ack 1" + line)
		}
		if got := len(s.transmit()); (got == 1) != x.counts {
			t.Errorf("%s: %d sent again after three", x.option, got)
		}

		s = flying(t, 5, "", func(c *Config) { c.NoSACK = true })
		s.advance(s.path.RTO())
		s.want(segment(0))
		s.push(2800)
		s.control.window = 1440
		s.recv(". 1 ack 1401")
		s.transmit()
		s.control.window = 1 << 20
		s.recv(". 1 ack 1401" + line)
		if got := len(s.transmit()); (got > 0) != x.counts {
			t.Errorf("%s: %d sent again after a timeout in doubt", x.option, got)
		}
	}
}
