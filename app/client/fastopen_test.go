package client

import (
	"testing"

	"tandem/app/apptest"
	"tandem/app/control"
)

// TestFastOpen: what a proxy is asked rides in the SYN once it has given a cookie, which is counted and shown; unless
// somebody said otherwise.
func TestFastOpen(t *testing.T) {
	s := newStreet(t)
	s.hasty = true
	s.host(proxyAt, false, socks5(t))
	s.run("socks5://"+proxyAt.String(), nil)
	s.connected("wlan0", "wwan0")
	rode := func() int {
		c := s.dial()
		defer c.Close()
		echoes(t, c, 1000)
		number, _ := s.on()
		one, err := s.client.Connection(s.ctx(), number)
		if err != nil {
			t.Fatal(err)
		}
		return one.FastOpen
	}
	apptest.Until(t, "octets in the SYN", func() bool { return rode() > 0 })
	s.wait("counted", func(st control.State) bool { return st.FastOpen && st.FastOpens > 0 })

	if err := s.client.Set(s.ctx(), control.Change{FastOpen: new(false)}); err != nil {
		t.Fatal(err)
	}
	if !s.client.State().FastOpen {
		t.Error("said to be off before it is")
	}
	if err := s.client.Down(s.ctx()); err != nil {
		t.Fatal(err)
	}
	if err := s.client.Up(s.ctx()); err != nil {
		t.Fatal(err)
	}
	s.connected("wlan0", "wwan0")
	for range 4 {
		if n := rode(); n > 0 {
			t.Errorf("%d octets in the SYN", n)
		}
	}
	if st := s.client.State(); st.FastOpen || st.FastOpens > 0 {
		t.Errorf("%+v", st)
	}
}
