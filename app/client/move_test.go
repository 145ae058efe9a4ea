package client

import (
	"net/netip"
	"testing"
	"time"

	"tandem/engine"
)

// TestAddressChange: a link that gets another address carries an open connection again after its handshake, and not when
// somebody's timer ends.
func TestAddressChange(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	w.join()
	w.start(w.config())
	w.connected("wlan0", "wwan0")
	s := w.dial().(*stream)
	defer s.Close()
	over := func() (n uint64) {
		for _, f := range s.Info().Subflows {
			if f.Path == engine.PathID(0) {
				n += f.Received
			}
		}
		return n
	}
	for round := range 4 {
		echoes(t, s, 300e3)
		w.network.Move(0)
		moved := w.links[0]
		moved.Addrs = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(3 + round)}), 24)}
		w.host.SetLinks(moved, w.links[1])
		start, before := time.Now(), over()
		for over() < before+100e3 {
			echoes(t, s, 100e3)
			if time.Since(start) > soon {
				t.Fatalf("it carries nothing\n%s", s.Trace())
			}
		}
		if took := time.Since(start); took > 800*time.Millisecond {
			t.Errorf("it carries again after %v\n%s", took, s.Trace())
		}
	}
}
