package tcp

// maxWindowScale is the largest shift (RFC 7323 2.3).
const maxWindowScale = 14

// announce returns the window for a segment about to leave, and remembers what it offers. Its right
// edge never moves left (RFC 9293 3.8.6), and moves right by no small steps (3.8.6.2.2).
func (r *receiver) announce(s *Subflow) uint16 {
	want := s.offer()
	if have := r.left(); !s.cfg.SharedWindow && want < have+s.worthwhile() {
		want = have + 1<<r.scale - 1 // rounded up: the edge must not move left
	}
	field := min(want>>r.scale, 0xffff)
	r.offered(field << r.scale)
	return uint16(field)
}

// offered notes that the window was announced.
func (r *receiver) offered(n int) {
	r.told = r.nxt + uint64(n)
	r.edge = max(r.edge, r.told)
}

// left is what the peer may still send of the window last announced.
func (r *receiver) left() int { return int(max(r.told, r.nxt) - r.nxt) }

// synWindow is the window in a SYN, which is not scaled (RFC 7323 2.2).
func (r *receiver) synWindow(s *Subflow) uint16 {
	field := min(s.offer(), 0xffff)
	r.offered(field)
	return uint16(field)
}

// fastWindow is that in a SYN which a stranger may answer with a connection at once. Linux's Multipath TCP then takes it for
// scaled and, as an edge never moves left, would send what nobody offered for as long as it could: so it is true both ways.
func (r *receiver) fastWindow(s *Subflow) uint16 {
	field := min(s.offer()>>s.cfg.WindowScale, 0xffff)
	r.offered(field << s.cfg.WindowScale)
	return uint16(field)
}

// offer asks the owner.
func (s *Subflow) offer() int {
	want := min(max(s.owner.Window(s), 0), 0xffff<<maxWindowScale)
	s.rcv.wndMax = max(s.rcv.wndMax, want)
	return want
}

// worthwhile is the least growth of the window that the peer hears of (RFC 9293 3.8.6.2.2).
func (s *Subflow) worthwhile() int {
	return max(1, min(s.MSS(), s.rcv.wndMax/2))
}

// WindowGrew tells that Owner.Window may return more than it did; an acknowledgement leaves if the
// peer should know (RFC 9293 3.8.6.2.2): when the window at least doubles.
func (s *Subflow) WindowGrew() {
	if !s.synchronized() || s.rcv.ended {
		return
	}
	left := s.rcv.left()
	if want := s.offer(); want >= left+s.worthwhile() && want >= 2*left {
		s.ack.due = true
	}
}

// windowBlocked reports whether only the peer's window keeps n octets from leaving, of which it
// admits usable. A small piece of more waits for room (RFC 9293 3.8.6.2.1).
func (s *Subflow) windowBlocked(n, usable int) bool {
	if usable >= n {
		return false
	}
	return usable <= 0 || !s.probe.override && 2*usable < s.snd.wndMax
}

// windowOpened ends the probing of a closed window.
func (s *Subflow) windowOpened() {
	if s.snd.usable() > 0 && s.snd.wnd >= min(s.MSS(), s.snd.wndMax/2) {
		s.probe.stop(s)
	}
}
