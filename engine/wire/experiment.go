package wire

import "encoding/binary"

// Subtypes of options that have none assigned. Those of RobE (draft-amend-tcpm-mptcp-robe-02) take what
// RFC 8684 7.2 leaves free, so that they look as the draft draws them: MP_JOIN_CAP has its ADDR_ID in the
// fourth octet, where the options that share MP_EXPERIMENTAL have their ExpID, and one octet more would not
// let its longest MAC fit beside timestamps: 12 octets, padded as is usual, and 28 are MaxOptions.
const (
	subRobE         = 0x9
	subJoinCap      = 0xa
	subLatestRTT    = 0xb
	subExperimental = 0xf

	expInactivity = 0x10
	expRateLimit  = 0x11

	inactivityRequest = 0x08
	inactivityMinutes = 0x04
)

// JoinCap is MP_JOIN_CAP, the third ACK of a flow that joins the initial one, which answered earlier
// (draft-amend-tcpm-mptcp-robe-02 3.1). Length is 24 to 28, with the first Length-12 octets of MAC.
type JoinCap struct {
	Length    uint8
	AddressID uint8
	Key       uint64 // of the client, on the initial flow
	MAC       [16]byte
}

// LatestRTT is L_RTT_EN (draft-amend-tcpm-mptcp-robe-02 3.2). Which fields count follows from Length: 4
// (SYN and SYN/ACK) none, 8 RTT.
type LatestRTT struct {
	Length uint8
	RTT    uint32 // in microseconds; 0 is unknown, the highest value means itself or more
}

// InactivityTime is how long a connection may be idle (draft-hoang-mptcp-inactivity-time-00). An option
// with Value 0 is neither read nor written (as in RFC 5482 3.3).
type InactivityTime struct {
	Request bool // asks the peer to use it too; else only tells it
	Minutes bool // the unit; else seconds
	Value   uint16
}

// Unlimited is the RateLimit that lifts the limit. One of 0 leaves only retransmissions and segments
// without data.
const Unlimited = 0xffffffff

// Prototype is the octet that the prototypes of the inactivity time and of the rate limit both send in an
// MP_EXPERIMENTAL of 4 octets without ExpID. The option does not tell which of the two it is, if any: it
// means something only to who knows the peer.
type Prototype uint8

// InactivityTime is the octet as an inactivity time: seconds, requested.
func (p Prototype) InactivityTime() InactivityTime {
	return InactivityTime{Request: true, Value: uint16(p)}
}

// RateLimit is the octet as a rate limit, on the wire in kilobytes per second, here in kilobits per second.
func (p Prototype) RateLimit() uint32 { return 8 * uint32(p) }

// readDraft reads an option whose subtype is none of RFC 8684; b is all of it.
func (o *Options) readDraft(b []byte) {
	n := len(b)
	switch sub := b[2] >> 4; {
	case sub == subRobE && n == RobELen:
		o.Has |= HasRobE
	case sub == subJoinCap && o.Has&HasJoinCap == 0:
		o.set(HasJoinCap, o.JoinCap.read(b))
	case sub == subLatestRTT && n == 4 && o.first(HasLatestRTT):
		o.LatestRTT = LatestRTT{Length: 4}
	case sub == subLatestRTT && n == 8 && o.first(HasLatestRTT):
		o.LatestRTT = LatestRTT{Length: 8, RTT: binary.BigEndian.Uint32(b[4:])}
	case sub == subExperimental && n == 8 && b[3] == expInactivity && o.Has&HasInactivityTime == 0:
		o.set(HasInactivityTime, o.InactivityTime.read(b))
	case sub == subExperimental && n == RateLimitLen && b[3] == expRateLimit && o.first(HasRateLimit):
		o.RateLimit = binary.BigEndian.Uint32(b[4:])
	case b[2] == subExperimental<<4 && n == PrototypeLen && o.first(HasPrototype):
		o.Prototype = Prototype(b[3])
	}
}

func (c *JoinCap) read(b []byte) bool {
	r := JoinCap{Length: uint8(len(b))}
	if r.Len() == 0 {
		return false
	}
	r.AddressID, r.Key = b[3], binary.BigEndian.Uint64(b[4:])
	copy(r.MAC[:], b[12:])
	*c = r
	return true
}

func (i *InactivityTime) read(b []byte) bool {
	r := InactivityTime{b[2]&inactivityRequest != 0, b[2]&inactivityMinutes != 0, binary.BigEndian.Uint16(b[4:])}
	if r.Len() == 0 {
		return false
	}
	*i = r
	return true
}

// writeDraft appends those of the options of readDraft that are in has.
func (o *Options) writeDraft(b []byte, has OptionSet) []byte {
	if has&HasRobE != 0 {
		b = append(head(b, subRobE, RobELen, 0), 0)
	}
	if has&HasJoinCap != 0 {
		b = append(head(b, subJoinCap, o.JoinCap.Len(), 0), o.JoinCap.AddressID)
		b = binary.BigEndian.AppendUint64(b, o.JoinCap.Key)
		b = append(b, o.JoinCap.mac()...)
	}
	if has&HasLatestRTT != 0 {
		b = append(head(b, subLatestRTT, o.LatestRTT.Len(), 0), 0)
		if o.LatestRTT.Length == 8 {
			b = binary.BigEndian.AppendUint32(b, o.LatestRTT.RTT)
		}
	}
	if has&HasInactivityTime != 0 {
		flags := flag(o.InactivityTime.Request, inactivityRequest) | flag(o.InactivityTime.Minutes, inactivityMinutes)
		b = append(head(b, subExperimental, o.InactivityTime.Len(), flags), expInactivity)
		b = append(binary.BigEndian.AppendUint16(b, o.InactivityTime.Value), 0, 0)
	}
	if has&HasRateLimit != 0 {
		b = append(head(b, subExperimental, RateLimitLen, 0), expRateLimit)
		b = binary.BigEndian.AppendUint32(b, o.RateLimit)
	}
	if has&HasPrototype != 0 {
		b = append(head(b, subExperimental, PrototypeLen, 0), uint8(o.Prototype))
	}
	return b
}
