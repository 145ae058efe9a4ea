package tcp

import (
	"tandem/engine/clock"
	"tandem/engine/wire"
)

const (
	tcpLen = 20
	ip4Len = 20
	ip6Len = 40
)

// headers is the length of the headers of IP and TCP without options.
func (s *Subflow) headers() int {
	if s.cfg.Remote.Addr().Is4() {
		return ip4Len + tcpLen
	}
	return ip6Len + tcpLen
}

// announcedMSS is what the peer may send: options do not count (RFC 6691 2), nor does what has passed so
// far, or the peer could never find that more does.
func (s *Subflow) announcedMSS() uint16 {
	mss := min(s.path.Ceiling()-s.headers(), 0xffff)
	if s.cfg.MaxMSS > 0 {
		mss = min(mss, s.cfg.MaxMSS)
	}
	return uint16(mss)
}

// mssMax is what the peer takes in a segment, options counted (RFC 9293 3.7.1).
func (s *Subflow) mssMax() int {
	mss := s.snd.mss
	if mss == 0 {
		mss = 0xffff // the peer has not said yet
	}
	if s.cfg.MaxMSS > 0 {
		mss = min(mss, s.cfg.MaxMSS)
	}
	return mss
}

// packetMax is the largest packet that may be sent: what path and peer take.
func (s *Subflow) packetMax() int { return min(s.path.MTU(), s.headers()+s.mssMax()) }

// MSS returns the payload octets that fit a segment with the usual options.
func (s *Subflow) MSS() int {
	options := s.snd.options
	if options == 0 && s.cfg.Timestamps {
		options = (wire.TimestampsLen + 3) &^ 3
	}
	return max(1, s.packetMax()-s.headers()-options)
}

// Fits returns the payload octets that fit a segment beside n octets of the owner's options.
func (s *Subflow) Fits(n int) int {
	if s.cfg.Timestamps {
		n += wire.TimestampsLen
	}
	return max(1, s.packetMax()-s.headers()-(n+3)&^3)
}

// probeSize is the size of a packet that path MTU discovery wants tried, if one can be built now from n
// octets in a buffer (RFC 4821 7.2, RFC 8899 5.2); else 0. What this peer does not take says nothing of the
// path, so it is not tried; and so that few sizes are, the octets must suffice for any.
func (s *Subflow) probeSize(now clock.Time, n, buffer int) int {
	most := min(buffer, s.headers()+s.mssMax())
	if most <= s.packetMax() || n < most-s.headers() {
		return 0
	}
	return s.path.Probe(now, most)
}

// TooBig takes the word of a router that a packet of this subflow, with that sequence number, is longer than mtu
// (0: it does not say what would pass). It is believed of what is under way and was that long (RFC 5927 7.2).
func (s *Subflow) TooBig(now clock.Time, seq wire.Seq, mtu int) {
	off, f := s.snd.offset(seq), &s.snd.flight
	if s.state == Closed || off < int64(s.snd.una) || off >= int64(s.snd.nxt) {
		return
	}
	id := f.find(uint64(off))
	if r := f.get(id); id != f.tail && r.fate == inAir && int(r.size) > mtu && s.path.TooBig(now, mtu) {
		s.dropped(id)
	}
}

// dropped has a record go again that vanished for its size, which is no congestion (RFC 8899 3).
func (s *Subflow) dropped(id uint32) {
	f := &s.snd.flight
	r := f.get(id)
	f.settle(id, lost)
	s.snd.inPath -= int(r.size)
	s.path.Forget(int(r.size))
	r.probe, r.size = false, 0
	s.loss.allow = 1
}

// blackHoleTimeouts is how many timeouts in a row of a full segment raise the suspicion.
const blackHoleTimeouts = 3

// suspectMTU tells the path when full packets seem to vanish (RFC 8899 4.3).
func (s *Subflow) suspectMTU(now clock.Time) {
	f := &s.snd.flight
	if r := f.get(f.head); s.loss.fired >= blackHoleTimeouts && int(r.n) >= s.MSS() {
		s.path.Blackhole(now)
	}
}
