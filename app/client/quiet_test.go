package client

import (
	"context"
	"io"
	"net/netip"
	"testing"
	"time"

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
	w.wait("octets over both", func(st control.State) bool { return st.Links[0].RxRate > 1e6 && st.Links[1].RxRate > 1e6 })
	w.silence(0, true)
	cut := time.Now()
	w.wait("silent", func(st control.State) bool { return st.Links[0].State == control.LinkSilent })
	if took := time.Since(cut); took > 2*time.Second {
		t.Errorf("noticed after %v", took)
	}
	if l := w.client.State().Links[0]; l.RxRate != 0 || l.TxRate != 0 {
		t.Errorf("silent at %.0f and %.0f bit/s", l.RxRate, l.TxRate)
	}
	time.Sleep(8 * time.Second)
	if st := w.client.State(); st.Links[0].State != control.LinkSilent || st.Links[1].State != control.LinkConnected {
		t.Errorf("after a while %+v", st.Links)
	}
	w.silence(0, false)
	back := time.Now()
	w.connected("wlan0", "wwan0")
	if took := time.Since(back); took > 2*time.Second {
		t.Errorf("back after %v", took)
	}
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
