package datagram

import (
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"time"

	"tandem/engine/clock"
)

// Why a packet, or a message in it, was not taken, one error for each reason.
var (
	ErrNotControl = errors.New("not a packet of the control lane")
	ErrMalformed  = errors.New("malformed message")
	ErrNoPath     = errors.New("path is not attached")
	ErrReflected  = errors.New("own packet came back")
	ErrStranger   = errors.New("sender has not said HELLO")
	ErrStale      = errors.New("from or for a process that is gone")
	ErrStray      = errors.New("PONG without its PING")
)

// kind is the type of a message.
type kind uint8

const (
	hello kind = 1 + iota
	ack
	ping
	pong
	pathNews
	held
	refused
	bye
)

const (
	headerLen  = 20
	messageLen = 4 // type, version, length
	version    = 1 // in which all of these messages stand

	helloLen  = 4 + 4 + 4 + 3*4 + 8
	pongLeast = 4 + 8 + 8 + 4 + 2 // before it told what came beside it
	pongLen   = pongLeast + 8
	pingLen   = pongLen // never shorter than its answer
	pathLen   = 4 + 4 + 8 + 8 + 4
	offerLen  = 4 + 4 + 2 + 2 + 4 // and an address
	byeLen    = 4 + 1

	// PingMin is the length of the shortest packet with a PING.
	PingMin = headerLen + messageLen + pingLen
	// BufferMin is the least room that Transmit can do with.
	BufferMin = 128
	// packetMax is what passes over any path: IPv6's 1280 less headers of IPv6 and UDP, and some.
	packetMax = 1200
)

var be = binary.BigEndian

// A header is what stands before the messages: who speaks, and whom it believes to speak to.
type header struct{ from, to uint64 }

func (h header) append(b []byte) []byte {
	b = append(b, 'T', 'L', 1, 0)
	return be.AppendUint64(be.AppendUint64(b, h.from), h.to)
}

// parseHeader also makes sure that the messages are framed, so that split can trust them.
func parseHeader(b []byte) (h header, messages []byte, err error) {
	if len(b) < headerLen || b[0] != 'T' || b[1] != 'L' || b[2] != 1 {
		return h, nil, ErrNotControl
	}
	h = header{from: be.Uint64(b[4:]), to: be.Uint64(b[12:])}
	messages = b[headerLen:]
	for rest := messages; len(rest) > 0; {
		if len(rest) < messageLen || len(rest)-messageLen < int(be.Uint16(rest[2:])) {
			return h, nil, ErrMalformed
		}
		rest = rest[messageLen+int(be.Uint16(rest[2:])):]
	}
	if h.from == 0 {
		return h, nil, ErrMalformed
	}
	return h, messages, nil
}

func split(messages []byte) (k kind, v uint8, body, rest []byte) {
	n := messageLen + int(be.Uint16(messages[2:]))
	return kind(messages[0]), messages[1], messages[messageLen:n], messages[n:]
}

func openMessage(b []byte, k kind, n int) []byte {
	return be.AppendUint16(append(b, byte(k), version), uint16(n))
}

func appendHello(b []byte, seq uint32, cfg *ControlConfig) []byte {
	b = openMessage(b, hello, helloLen)
	b = be.AppendUint32(b, seq)
	b = append(b, cfg.VersionMin, cfg.VersionMax, byte(cfg.Families), 0)
	b = be.AppendUint32(b, cfg.Features)
	b = be.AppendUint32(b, cfg.Limits.Connections)
	b = be.AppendUint32(b, cfg.Limits.Offers)
	b = be.AppendUint32(b, cfg.Limits.Mappings)
	return be.AppendUint64(b, cfg.Limits.Buffered)
}

func parseHello(b []byte) (cfg ControlConfig, err error) {
	if len(b) < helloLen || be.Uint32(b) == 0 || b[4] == 0 || b[5] < b[4] {
		return cfg, ErrMalformed
	}
	cfg.VersionMin, cfg.VersionMax, cfg.Families = b[4], b[5], Families(b[6])
	cfg.Features = be.Uint32(b[8:])
	cfg.Limits = Limits{
		Connections: be.Uint32(b[12:]), Offers: be.Uint32(b[16:]), Mappings: be.Uint32(b[20:]),
		Buffered: be.Uint64(b[24:]),
	}
	return cfg, nil
}

func appendPath(b []byte, seq uint32, s PathState) []byte {
	b = openMessage(b, pathNews, pathLen)
	b = be.AppendUint32(b, seq)
	b = append(b, byte(s.ID), byte(s.State), byte(s.Role), 0)
	b = be.AppendUint64(b, s.LimitUp)
	b = be.AppendUint64(b, s.LimitDown)
	return be.AppendUint32(b, s.Price)
}

func parsePath(b []byte) (s PathState, err error) {
	if len(b) < pathLen || State(b[5]) > Off || Role(b[6]) > Never {
		return s, ErrMalformed
	}
	return PathState{
		ID: PathID(b[4]), State: State(b[5]), Role: Role(b[6]),
		LimitUp: be.Uint64(b[8:]), LimitDown: be.Uint64(b[16:]), Price: be.Uint32(b[24:]),
	}, nil
}

func appendOffer(b []byte, m *news, age time.Duration) []byte {
	to := m.offer.Target
	b = openMessage(b, m.kind, m.length()-messageLen)
	b = be.AppendUint32(b, m.seq)
	b = be.AppendUint32(b, micros(age))
	b = be.AppendUint16(b, m.offer.Source)
	b = be.AppendUint16(b, to.Port())
	if to.Addr().Is4() {
		a := to.Addr().As4()
		return append(append(b, m.reason, 4, 0, 0), a[:]...)
	}
	a := to.Addr().As16()
	return append(append(b, m.reason, 6, 0, 0), a[:]...)
}

func parseOffer(b []byte) (o OfferID, reason uint8, age time.Duration, err error) {
	if len(b) < offerLen+4 {
		return o, 0, 0, ErrMalformed
	}
	var a netip.Addr
	switch {
	case b[13] == 4:
		a = netip.AddrFrom4([4]byte(b[offerLen:]))
	case b[13] == 6 && len(b) >= offerLen+16:
		a = netip.AddrFrom16([16]byte(b[offerLen:]))
	}
	if !a.IsValid() || a.Is4In6() {
		return o, 0, 0, ErrMalformed
	}
	age = time.Duration(be.Uint32(b[4:])) * time.Microsecond
	return OfferID{Source: be.Uint16(b[8:]), Target: netip.AddrPortFrom(a, be.Uint16(b[10:]))}, b[12], age, nil
}

// appendPing fills the packet b up to size octets.
func appendPing(b []byte, id uint32, now clock.Time, size int) []byte {
	b = openMessage(b, ping, size-len(b)-messageLen)
	b = be.AppendUint32(b, id)
	b = be.AppendUint64(b, uint64(now))
	at := len(b)
	b = b[:size]
	clear(b[at:])
	return b
}

func appendPong(b []byte, a answer, now clock.Time) []byte {
	b = openMessage(b, pong, pongLen)
	b = be.AppendUint32(b, a.id)
	b = be.AppendUint64(b, a.clock)
	b = be.AppendUint64(b, uint64(a.came))
	b = be.AppendUint32(b, micros(now.Sub(a.came)))
	b = be.AppendUint16(b, a.size)
	return be.AppendUint64(b, a.got)
}

// micros is d as messages carry it, in microseconds that end where 32 bits do.
func micros(d time.Duration) uint32 {
	return uint32(min(max(d.Microseconds(), 0), math.MaxUint32))
}
