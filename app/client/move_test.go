package client

import (
	"net/netip"
	"testing"

	"tandem/engine"
)

// TestAddressChange: a link that gets another address carries an open connection again. How soon is told by what the
// other link carries in the meantime, which is no more on a busy machine.
func TestAddressChange(t *testing.T) {
	w := newConnected(t)
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
		n := 0
		for before := over(); over() < before+100e3; n++ {
			if n == 40 {
				t.Fatalf("it carries nothing while there are %d echoes over the other\n%s", n, s.Trace())
			}
			echoes(t, s, 100e3)
		}
	}
}
