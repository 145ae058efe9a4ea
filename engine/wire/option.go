package wire

import "encoding/binary"

// MaxOptions is how many octets of options a TCP header holds.
const MaxOptions = 40

// Kinds of TCP options.
const (
	kindEnd           = 0
	kindNop           = 1
	kindMSS           = 2
	kindWindowScale   = 3
	kindSACKPermitted = 4
	kindSACK          = 5
	kindTimestamps    = 8
	kindMPTCP         = 30
	kindFastOpen      = 34
)

// Parse reads the options field of a TCP header. Unknown options and those whose length is not the
// one they must have are passed over; a length that leads nowhere ends the parsing, because
// middleboxes cut options short and the segment is good all the same.
func (o *Options) Parse(b []byte) {
	*o = Options{}
	o.read(b)
}

func (o *Options) read(b []byte) {
	for len(b) > 0 && b[0] != kindEnd {
		if b[0] == kindNop {
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return
		}
		n := b[1]
		if b[0] == kindMPTCP {
			o.readMPTCP(b[:n])
		} else {
			o.readTCP(b[:n])
		}
		b = b[n:]
	}
}

// readTCP reads one option; b is all of it.
func (o *Options) readTCP(b []byte) {
	switch kind, n := b[0], len(b); {
	case kind == kindMSS && n == 4 && o.first(HasMSS):
		o.MSS = binary.BigEndian.Uint16(b[2:])
	case kind == kindWindowScale && n == 3 && o.first(HasWindowScale):
		o.WindowScale = b[2]
	case kind == kindSACKPermitted && n == 2:
		o.Has |= HasSACKPermitted
	case kind == kindSACK && n >= 10 && n <= 34 && n%8 == 2 && o.first(HasSACK):
		for b = b[2:]; len(b) > 0; b = b[8:] {
			o.SACK[o.SACKs] = Block{Seq(binary.BigEndian.Uint32(b)), Seq(binary.BigEndian.Uint32(b[4:]))}
			o.SACKs++
		}
	case kind == kindTimestamps && n == 10 && o.first(HasTimestamps):
		o.TSVal, o.TSEcr = binary.BigEndian.Uint32(b[2:]), binary.BigEndian.Uint32(b[6:])
	case kind == kindFastOpen && validCookie(n-2) && o.first(HasFastOpen):
		o.Cookie.Len = uint8(copy(o.Cookie.Cookie[:], b[2:]))
	}
}

// validCookie reports whether a cookie of TFO may have n octets (RFC 7413 4.1.1).
func validCookie(n int) bool { return n == 0 || n >= 4 && n <= 16 && n%2 == 0 }

// first reports whether no such option came before, and notes that one has.
func (o *Options) first(has OptionSet) bool {
	if o.Has&has != 0 {
		return false
	}
	o.Has |= has
	return true
}

// Append appends the options, with NOPs to a multiple of 4 octets. The NOPs stand before all options but
// MSS, so that timestamps are where receivers look first (RFC 7323 Appendix A). Options go in the order
// of OptionSet, SACK last; one that does not fit into MaxOptions any more is left out, SACK loses its
// last blocks. One that says nothing (no blocks, a Length that does not exist) is not written either.
func (o *Options) Append(b []byte) []byte { return o.write(b, o.fit()) }

func (o *Options) write(b []byte, f fit) []byte {
	if f.has&HasMSS != 0 {
		b = binary.BigEndian.AppendUint16(append(b, kindMSS, 4), o.MSS)
	}
	for range f.padded() - f.len {
		b = append(b, kindNop)
	}
	if f.has&HasWindowScale != 0 {
		b = append(b, kindWindowScale, 3, o.WindowScale)
	}
	if f.has&HasSACKPermitted != 0 {
		b = append(b, kindSACKPermitted, 2)
	}
	if f.has&HasTimestamps != 0 {
		b = binary.BigEndian.AppendUint32(append(b, kindTimestamps, 10), o.TSVal)
		b = binary.BigEndian.AppendUint32(b, o.TSEcr)
	}
	if f.has&HasFastOpen != 0 {
		b = append(append(b, kindFastOpen, 2+o.Cookie.Len), o.Cookie.Cookie[:o.Cookie.Len]...)
	}
	if f.has&HasMPTCP != 0 {
		b = o.writeMPTCP(b, f.has)
	}
	if f.has&HasSACK != 0 {
		b = append(b, kindSACK, uint8(2+8*f.blocks))
		for _, k := range o.SACK[:f.blocks] {
			b = binary.BigEndian.AppendUint32(b, uint32(k.Left))
			b = binary.BigEndian.AppendUint32(b, uint32(k.Right))
		}
	}
	return b
}
