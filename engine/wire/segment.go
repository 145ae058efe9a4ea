// Package wire turns bytes into values and back: IPv4, IPv6, TCP with its options, and every option
// of Multipath TCP. It keeps no state, allocates nothing, and never panics, whatever the bytes are.
package wire

import "net/netip"

// Flags are the control bits of a TCP header, in wire order (RFC 9293 3.1).
type Flags uint8

// The control bits.
const (
	FIN Flags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// Has reports whether every bit of g is set in f.
func (f Flags) Has(g Flags) bool { return f&g == g }

// Codepoints of the two ECN bits, the low bits of TOS (RFC 3168 5).
const (
	NotECT = 0
	ECT1   = 1
	ECT0   = 2
	CE     = 3
)

// A Segment is a TCP segment with the part of its IP header that TCP cares about.
type Segment struct {
	Source, Target netip.AddrPort // both of one family; IPv4 never as an IPv6-mapped address
	TOS            uint8          // DSCP and ECN
	TTL            uint8          // 0 when building means 64
	Seq, Ack       Seq
	Flags          Flags
	Window         uint16 // as on the wire, unscaled
	Urgent         uint16
	Options        Options
	Payload        []byte // of a parsed segment: part of the packet
}

// Len is how many sequence numbers the segment occupies (RFC 9293 3.4, SEG.LEN).
func (s *Segment) Len() int {
	n := len(s.Payload)
	if s.Flags&SYN != 0 {
		n++
	}
	if s.Flags&FIN != 0 {
		n++
	}
	return n
}

// OptionSet says which options a segment carries.
type OptionSet uint32

// The options of TCP and, from HasCapable on, of MPTCP (RFC 8684 7.2), with those of drafts from HasRobE on.
const (
	HasMSS OptionSet = 1 << iota
	HasWindowScale
	HasSACKPermitted
	HasSACK
	HasTimestamps
	HasFastOpen
	HasCapable
	HasJoin
	HasDSS
	HasAddAddr
	HasRemoveAddr
	HasPrio
	HasFail
	HasFastClose
	HasReset
	HasRobE // ROBE_eSIM_EN: the sender knows MP_JOIN_CAP
	HasJoinCap
	HasLatestRTT
	HasInactivityTime
	HasRateLimit
	HasPrototype
)

// HasMPTCP is every option of MPTCP.
const HasMPTCP = HasCapable | HasJoin | HasDSS | HasAddAddr | HasRemoveAddr | HasPrio | HasFail | HasFastClose | HasReset | hasDraft

const hasDraft = HasRobE | HasJoinCap | HasLatestRTT | HasInactivityTime | HasRateLimit | HasPrototype

// Options are the options of a segment. A field counts only if its bit is set in Has; of an option
// that occurs twice the first counts.
type Options struct {
	Has         OptionSet
	WindowScale uint8 // as on the wire, not clamped
	MSS         uint16
	TSVal       uint32
	TSEcr       uint32
	SACK        [4]Block
	SACKs       int // how many of SACK are set
	Cookie      FastOpen
	Capable     Capable
	Join        Join
	DSS         DSS
	AddAddr     AddAddr
	RemoveAddr  RemoveAddr
	Backup      bool // MP_PRIO: the sender's wish for data towards it
	FailDSN     DSN  // MP_FAIL
	CloseKey    uint64
	Reset       Reset

	JoinCap        JoinCap
	LatestRTT      LatestRTT
	InactivityTime InactivityTime
	RateLimit      uint32 // the sender's wish for data towards it on the subflow, in kbit/s (draft-hoang-mptcp-sub-rate-limit-00)
	Prototype      Prototype
}

// A Block is a range of sequence numbers [Left, Right) of a SACK option (RFC 2018 3).
type Block struct{ Left, Right Seq }

// FastOpen is the cookie of RFC 7413; Len 0 asks for one.
type FastOpen struct {
	Len    uint8
	Cookie [16]byte
}

// Capable is MP_CAPABLE (RFC 8684 3.1). Which fields count follows from Length, as on the wire:
// 4 none, 12 Sender, 20 and Receiver, 22 and DataLen, 24 and Checksum.
type Capable struct {
	Length           uint8
	Version          uint8
	Flags            CapableFlags
	Sender, Receiver uint64
	DataLen          uint16
	Checksum         uint16
}

// CapableFlags are the flags A to H of MP_CAPABLE.
type CapableFlags uint8

// The flags that RFC 8684 gives a meaning.
const (
	ChecksumRequired CapableFlags = 0x80 // A
	Extensible       CapableFlags = 0x40 // B
	NoJoinsHere      CapableFlags = 0x20 // C
	HMACSHA256       CapableFlags = 0x01 // H
)

// Join is MP_JOIN (RFC 8684 3.2). Which fields count follows from Length: 12 (SYN) Token and Nonce,
// 16 (SYN/ACK) the first 8 octets of MAC and Nonce, 24 (ACK) all 20 octets of MAC.
type Join struct {
	Length    uint8
	Backup    bool
	AddressID uint8
	Token     uint32
	Nonce     uint32
	MAC       [20]byte
}

// DSS is the data sequence signal (RFC 8684 3.3), with numbers as wide as on the wire.
type DSS struct {
	HasAck, Ack64 bool // DATA_ACK present; 8 octets of it
	HasMap, Map64 bool // mapping present; 8 octets of DSN
	HasChecksum   bool
	Fin           bool // DATA_FIN
	Ack           DSN  // the low 32 bits only, unless Ack64
	DSN           DSN  // the low 32 bits only, unless Map64
	SSN           uint32
	DataLen       uint16 // counts DATA_FIN; 0 is the infinite mapping
	Checksum      uint16
}

// AddAddr is ADD_ADDR (RFC 8684 3.4.1). Port 0 means that none was given, unless ZeroPort says that 0 was.
type AddAddr struct {
	Echo bool
	ID   uint8
	Addr netip.Addr
	Port uint16
	MAC  uint64

	ZeroPort bool
}

// RemoveAddr is REMOVE_ADDR (RFC 8684 3.4.2).
type RemoveAddr struct {
	N   int // 1 to 8
	IDs [8]uint8
}

// Reset is MP_TCPRST (RFC 8684 3.6).
type Reset struct {
	Transient bool
	Reason    Reason
}

// Reason says why a subflow was reset (RFC 8684 3.6, Table 3).
type Reason uint8

// The reasons.
const (
	Unspecified Reason = iota
	MPTCPError
	LackOfResources
	Prohibited
	TooMuchData
	Unacceptable
	Middlebox
)
