package server

import (
	"bytes"
	"net/netip"
	"time"

	"tandem/app/invite"
	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/tunnel/carrier"
)

// Ears are what a device hears beside its connections.
type ears struct {
	host4, host6 netip.Addr
	events       chan engine.Event
	packets      chan []byte // of the datagram lane
}

func newEars(hub carrier.Key) ears {
	e := ears{events: make(chan engine.Event, 64), packets: make(chan []byte, 64)}
	e.host4, e.host6 = invite.HostAddrs(hub)
	return e
}

func (d *laptop) bondConfig() engine.BondConfig {
	return engine.BondConfig{
		Config: mptcp.Config{Paired: true, Datagrams: engine.DatagramConfig{Near: true, Host4: d.host4, Host6: d.host6}},
		Event: func(e engine.Event) {
			select {
			case d.events <- e:
			default:
			}
		},
		Packets: func(pkts [][]byte) {
			for _, p := range pkts {
				select {
				case d.packets <- bytes.Clone(p):
				default:
				}
			}
		},
	}
}

// hears waits for an event that is such; nil means any of that kind.
func (d *laptop) hears(kind engine.EventKind, such func(engine.Event) bool) {
	d.w.t.Helper()
	late := time.After(patience)
	for {
		select {
		case e := <-d.events:
			if e.Kind == kind && (such == nil || such(e)) {
				return
			}
		case <-late:
			d.w.t.Fatalf("event %d was not heard", kind)
		}
	}
}
