package relay

import (
	"bytes"
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Lifetimes of idle mappings (RFC 4787 4.3, RFC 5508 3.2).
const (
	lifeUDP  = 120 * time.Second
	lifeDNS  = 30 * time.Second // as long as nothing but port 53 is asked
	lifeEcho = 60 * time.Second
)

// A key names a mapping: a port of UDP, or an identifier of ICMP echo, of the client.
type key struct {
	v4, echo bool
	number   uint16
}

// A mapping is a socket that stands for a key.
type mapping struct {
	key  key
	sock socket
	born time.Time
	last atomic.Int64 // when it was used, in nanoseconds after born: clocks on walls jump
	life atomic.Int64

	mu         sync.Mutex
	turned     time.Time               // when old was young
	young, old map[netip.Addr]struct{} // whom the client has sent to in this lifetime, and in the one before
	heads      [headsMax]head          // of what was sent, a ring
	next       int
}

const (
	headsMax    = 8
	headLen     = 80   // holds any header without extensions, UDP's, and what tells payloads apart
	contactsMax = 2048 // young ones of a mapping that has few beside it
	contactsMin = 32   // and of one that has many
	contactsAll = 1 << 17
)

// A head is the beginning of a packet that the client sent, kept to be quoted.
type head struct {
	target netip.AddrPort
	body   int // where what comes back in quotes begins
	octets []byte
}

func newMapping(k key, s socket, now time.Time) *mapping {
	m := &mapping{key: k, sock: s, born: now, turned: now, young: map[netip.Addr]struct{}{}}
	m.life.Store(int64(lifeDNS))
	if k.echo {
		m.life.Store(int64(lifeEcho))
	}
	m.use(now)
	return m
}

func (m *mapping) use(now time.Time) { m.last.Store(int64(now.Sub(m.born))) }

func (m *mapping) idle(now time.Time) time.Duration {
	return now.Sub(m.born) - time.Duration(m.last.Load())
}

func (m *mapping) expired(now time.Time) bool { return m.idle(now) >= time.Duration(m.life.Load()) }

// sends notes a packet that is about to be sent: its answers are wanted, and errors quote it. No more young
// contacts than that are kept.
func (m *mapping) sends(now time.Time, target netip.AddrPort, pkt []byte, body, contacts int) {
	m.use(now)
	if !m.key.echo && target.Port() != 53 {
		m.life.Store(int64(lifeUDP))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.young[target.Addr()]; now.Sub(m.turned) >= lifeUDP || !known && len(m.young) >= contacts {
		m.old, m.young, m.turned = m.young, map[netip.Addr]struct{}{}, now
	}
	m.young[target.Addr()] = struct{}{}
	h := &m.heads[m.next]
	m.next = (m.next + 1) % headsMax
	h.target, h.body = target, body
	h.octets = append(h.octets[:0], pkt[:min(len(pkt), headLen)]...)
}

// wants reports whether the client has sent to an address and so wants to hear from it.
func (m *mapping) wants(from netip.Addr) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, young := m.young[from]
	_, old := m.old[from]
	return young || old
}

// quote returns a copy of the latest packet to a target whose body began as given.
func (m *mapping) quote(target netip.AddrPort, body []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range headsMax {
		h := &m.heads[(m.next-1-i+2*headsMax)%headsMax]
		if h.target != target || len(h.octets) < h.body {
			continue
		}
		kept := h.octets[h.body:]
		if n := min(len(kept), len(body)); bytes.Equal(kept[:n], body[:n]) {
			return bytes.Clone(h.octets)
		}
	}
	return nil
}

// mapping finds or makes the mapping of a key.
func (d *Datagrams) mapping(k key, now time.Time) (*mapping, error) {
	if m := d.mappings[k]; m != nil {
		return m, nil
	}
	if len(d.mappings) >= d.cfg.Mappings {
		d.evict(now)
	}
	for !d.cfg.Take() {
		if len(d.mappings) == 0 {
			return nil, errFiles
		}
		d.evict(now)
	}
	s, err := d.open(k)
	if err != nil {
		d.cfg.Give()
		return nil, err
	}
	m := newMapping(k, s, now)
	d.mappings[k] = m
	d.counts.mappings.Add(1)
	d.running.Go(func() { d.hear(m) })
	return m, nil
}

var errFiles = errors.New("others have the files")

// contacts is how many young contacts a mapping keeps: all mappings together keep about contactsAll.
func (d *Datagrams) contacts() int {
	return min(max(contactsAll/(1+len(d.mappings)), contactsMin), contactsMax)
}

func (d *Datagrams) drop(k key, m *mapping) {
	m.sock.close()
	d.cfg.Give()
	delete(d.mappings, k)
	d.counts.mappings.Add(-1)
}

func (d *Datagrams) expire(now time.Time) {
	for k, m := range d.mappings {
		if m.expired(now) {
			d.drop(k, m)
		}
	}
}

// evict drops the sixteenth that was idle for longest, so that looking for them is rare.
func (d *Datagrams) evict(now time.Time) {
	all := make([]*mapping, 0, len(d.mappings))
	for _, m := range d.mappings {
		all = append(all, m)
	}
	idle := map[*mapping]time.Duration{}
	for _, m := range all {
		idle[m] = m.idle(now)
	}
	slices.SortFunc(all, func(a, b *mapping) int { return cmp.Compare(idle[b], idle[a]) })
	for _, m := range all[:1+len(all)/16] {
		d.drop(m.key, m)
		d.counts.evicted.Add(1)
	}
}
