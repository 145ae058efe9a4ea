package client

import (
	"sync"

	"tandem/app/config"
	"tandem/engine"
)

// eventsMax bounds what waits for the loop; beyond it the oldest are lost.
const eventsMax = 256

// news takes events from the engine's goroutine to the loop.
type news struct {
	mu    sync.Mutex
	queue []engine.Event
	wake  chan struct{} // holds a token when there is something
}

func (n *news) put(e engine.Event) {
	n.mu.Lock()
	if len(n.queue) == eventsMax {
		n.queue = n.queue[1:]
	}
	n.queue = append(n.queue, e)
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *news) take() []engine.Event {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := n.queue
	n.queue = nil
	return q
}

// bondConfig describes the bond with the hub. Packets that are not TCP have this device's addresses on the TUN here,
// and those of the path that they take inside it.
func (v *live) bondConfig() engine.BondConfig {
	m := v.manner.made.machine()
	m.Paired = true
	m.Datagrams = engine.DatagramConfig{Near: true, Host4: v.inner.host4, Host6: v.inner.host6}
	return engine.BondConfig{Config: m, Name: v.member.HubName, Packets: v.lane.toApplications, Event: v.news.put}
}

// roles are the engine's names of roles; Never has none, because it has no path.
var roles = map[config.Role]engine.Role{
	config.Primary: engine.Primary, config.Secondary: engine.Secondary, config.Backup: engine.Backup,
}
