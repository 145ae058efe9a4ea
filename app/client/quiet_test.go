package client

import (
	"context"
	"io"
	"net/netip"
	"testing"

	"tandem/app/control"
	"tandem/tunnel/relay"
	"tandem/tunnel/relay/relaytest"
)

// TestDeadLinkUnderADownload: who only receives has nothing outstanding, and notices all the same.
func TestDeadLinkUnderADownload(t *testing.T) {
	w := newWorld(t)
	w.hub.Dialer = endless{}
	w.startHub()
	w.join()
	w.start(w.config())
	w.connected("wlan0", "wwan0")
	s := w.dial()
	defer s.Close()
	go io.Copy(io.Discard, s)
	w.wait("octets over both", func(st control.State) bool { return st.Links[0].Rx > 1e6 && st.Links[1].Rx > 1e6 })
	w.silence(0, true)
	w.wait("silent", func(st control.State) bool { return st.Links[0].State == control.LinkSilent })
	if l := w.client.State().Links[0]; l.RxRate != 0 || l.TxRate != 0 {
		t.Errorf("silent at %.0f and %.0f bit/s", l.RxRate, l.TxRate)
	}
	asked, _ := w.network.Counts(0)
	w.wait("asked again and again in vain", func(st control.State) bool {
		if st.Links[0].State != control.LinkSilent {
			t.Errorf("meanwhile %+v", st.Links)
		}
		up, _ := w.network.Counts(0)
		return t.Failed() || up.Down.Packets >= asked.Down.Packets+5
	})
	w.silence(0, false)
	w.connected("wlan0", "wwan0")
}

// endless is an Internet whose every host says octets without end.
type endless struct{}

func (endless) Dial(_ context.Context, target netip.AddrPort) (relay.Stream, error) {
	here, there := relaytest.Pipe(somewhere, target)
	go func() {
		for octets := make([]byte, 64<<10); ; {
			if _, err := there.Write(octets); err != nil {
				return
			}
		}
	}()
	return here, nil
}
