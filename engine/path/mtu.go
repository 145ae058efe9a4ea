package path

import (
	"time"

	"tandem/engine/clock"
)

// Parameters of RFC 8899 5.1.
const (
	mtuBase       = 1280
	mtuProbes     = 3
	mtuStep       = 16 // search ends when it knows the size this well
	mtuProbeTimer = 5 * time.Second
	mtuRaiseTimer = 600 * time.Second
)

// mtu searches the largest packet that passes (datagram packetization layer path MTU discovery):
//
//	search ──► complete ──(raise timer)──► search
//	   ▲           │
//	   └─ base ◄───┴─ black hole
type mtu struct {
	size    int   // known to pass
	ceiling int   // configured: never tried beyond
	failed  int   // smallest size known not to pass; 0: none
	former  int   // passed before the last black hole, to be tried first: that may have been an outage; 0: none
	probing int32 // size of the probe that is out; 0: none
	tries   int32
	next    clock.Time // when the next probe may leave
}

// SearchMTU begins a search at once for sizes up to ceiling.
func (p *Path) SearchMTU(ceiling int) {
	m := &p.mtu
	m.ceiling, m.failed, m.former = max(ceiling, m.size), 0, 0
	m.probing, m.tries, m.next = 0, 0, before
}

// MTU returns the IP packet size that is known to pass.
func (p *Path) MTU() int { return p.mtu.size }

// Ceiling returns the IP packet size beyond which nothing is tried: what a peer may be told to send,
// since it finds out for itself what passes.
func (p *Path) Ceiling() int { return p.mtu.ceiling }

// Probe returns the packet size that path MTU discovery wants tried now, or 0 (RFC 8899, RFC 4821): at
// most as many octets as the caller can send. It names the next when Probed has told the fate of the last,
// or after 5 s.
func (p *Path) Probe(now clock.Time, most int) int {
	m := &p.mtu
	if now < m.next {
		return 0
	}
	if m.probing > 0 {
		m.verdict(now, int(m.probing), false)
		if now < m.next {
			return 0
		}
	}
	n := min(m.candidate(), most)
	if n <= m.size {
		return 0
	}
	m.probing, m.next = int32(n), now.Add(mtuProbeTimer)
	return n
}

// candidate returns the size to try next: what passed once, or the ceiling, since these are the
// likeliest, then halves.
func (m *mtu) candidate() int {
	switch {
	case m.size >= m.ceiling:
		return 0
	case m.former > m.size:
		return m.former
	case m.failed == 0:
		return m.ceiling
	}
	return m.size + (m.failed-m.size)/2
}

// Probed records the fate of a probe of size n. A lost probe is not congestion.
func (p *Path) Probed(now clock.Time, n int, arrived bool) {
	if n == int(p.mtu.probing) {
		p.mtu.verdict(now, n, arrived)
	}
}

func (m *mtu) verdict(now clock.Time, n int, arrived bool) {
	m.probing, m.next = 0, now
	switch m.tries++; {
	case arrived:
		m.size, m.tries = max(m.size, n), 0
	case m.tries >= mtuProbes:
		m.failed, m.former, m.tries = n, 0, 0
	}
	if m.failed > 0 && m.failed-m.size <= mtuStep {
		m.failed, m.next = 0, now.Add(mtuRaiseTimer)
	}
}

// Blackhole records that packets of the present MTU seem to vanish where small ones pass, and
// reports whether the MTU was lowered (RFC 8899 4.3). A search upwards follows, which begins with it.
func (p *Path) Blackhole(now clock.Time) bool {
	m := &p.mtu
	if m.size <= mtuBase {
		return false
	}
	m.former, m.size = m.size, mtuBase
	m.probing, m.tries, m.next = 0, 0, now
	return true
}

// TooBig records that a router passes no more than mtu octets (RFC 8201 4, RFC 1191 6.3), and reports whether
// the MTU was lowered. One that does not say so, or claims less than any path must pass, is a black hole.
func (p *Path) TooBig(now clock.Time, mtu int) bool {
	m := &p.mtu
	switch {
	case mtu >= m.size:
		return false
	case mtu < mtuBase:
		return p.Blackhole(now)
	}
	m.size, m.failed, m.former = mtu, 0, 0
	m.probing, m.tries, m.next = 0, 0, now.Add(mtuRaiseTimer)
	return true
}
