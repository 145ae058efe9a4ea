package wire

import (
	"encoding/binary"
	"net/netip"
)

// Subtypes of the MPTCP option, in the high half of its third octet (RFC 8684 7.2).
const (
	subCapable = iota
	subJoin
	subDSS
	subAddAddr
	subRemoveAddr
	subPrio
	subFail
	subFastClose
	subReset
)

// Flags in the octets after kind and length.
const (
	joinBackup     = 0x01
	prioBackup     = 0x01
	addEcho        = 0x01
	resetTransient = 0x01

	dssAck   = 0x01
	dssAck64 = 0x02
	dssMap   = 0x04
	dssMap64 = 0x08
	dssFin   = 0x10
)

// readMPTCP reads one MPTCP option; b is all of it.
func (o *Options) readMPTCP(b []byte) {
	n := len(b)
	if n < 3 {
		return
	}
	switch sub := b[2] >> 4; {
	case sub == subCapable && o.Has&HasCapable == 0:
		o.set(HasCapable, o.Capable.read(b))
	case sub == subJoin && o.Has&HasJoin == 0:
		o.set(HasJoin, o.Join.read(b))
	case sub == subDSS && o.Has&HasDSS == 0:
		o.set(HasDSS, o.DSS.read(b))
	case sub == subAddAddr && o.Has&HasAddAddr == 0:
		o.set(HasAddAddr, o.AddAddr.read(b))
	case sub == subRemoveAddr && n > 3 && n <= 3+len(o.RemoveAddr.IDs) && o.first(HasRemoveAddr):
		o.RemoveAddr.N = copy(o.RemoveAddr.IDs[:], b[3:])
	case sub == subPrio && n == PrioLen && o.first(HasPrio):
		o.Backup = b[2]&prioBackup != 0
	case sub == subFail && n == FailLen && o.first(HasFail):
		o.FailDSN = DSN(binary.BigEndian.Uint64(b[4:]))
	case sub == subFastClose && n == FastCloseLen && o.first(HasFastClose):
		o.CloseKey = binary.BigEndian.Uint64(b[4:])
	case sub == subReset && n == ResetLen && o.first(HasReset):
		o.Reset = Reset{Transient: b[2]&resetTransient != 0, Reason: Reason(b[3])}
	default:
		o.readDraft(b)
	}
}

func (o *Options) set(has OptionSet, ok bool) {
	if ok {
		o.Has |= has
	}
}

func (c *Capable) read(b []byte) bool {
	r := Capable{Length: uint8(len(b))}
	if r.Len() == 0 {
		return false
	}
	r.Version, r.Flags = b[2]&15, CapableFlags(b[3])
	if len(b) >= 12 {
		r.Sender = binary.BigEndian.Uint64(b[4:])
	}
	if len(b) >= 20 {
		r.Receiver = binary.BigEndian.Uint64(b[12:])
	}
	if len(b) >= 22 {
		r.DataLen = binary.BigEndian.Uint16(b[20:])
	}
	if len(b) >= 24 {
		r.Checksum = binary.BigEndian.Uint16(b[22:])
	}
	*c = r
	return true
}

func (j *Join) read(b []byte) bool {
	r := Join{Length: uint8(len(b))}
	switch r.Length {
	case 12:
		r.Token = binary.BigEndian.Uint32(b[4:])
		r.Nonce = binary.BigEndian.Uint32(b[8:])
	case 16:
		copy(r.MAC[:8], b[4:])
		r.Nonce = binary.BigEndian.Uint32(b[12:])
	case 24:
		copy(r.MAC[:], b[4:])
		*j = r
		return true
	default:
		return false
	}
	r.Backup, r.AddressID = b[2]&joinBackup != 0, b[3]
	*j = r
	return true
}

// read takes the widths of the numbers from the flags, where a and m mean nothing without A and M
// (RFC 8684 3.3), and whether there is a checksum from the length.
func (d *DSS) read(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	f := b[3]
	r := DSS{HasAck: f&dssAck != 0, HasMap: f&dssMap != 0}
	r.Ack64 = r.HasAck && f&dssAck64 != 0
	r.Map64 = r.HasMap && f&dssMap64 != 0
	r.Fin = r.HasMap && f&dssFin != 0
	r.HasChecksum = len(b) == r.Len()+2
	if len(b) != r.Len() {
		return false
	}
	b = b[4:]
	if r.HasAck {
		r.Ack, b = readDSN(b, r.Ack64)
	}
	if r.HasMap {
		r.DSN, b = readDSN(b, r.Map64)
		r.SSN, r.DataLen = binary.BigEndian.Uint32(b), binary.BigEndian.Uint16(b[4:])
	}
	if r.HasChecksum {
		r.Checksum = binary.BigEndian.Uint16(b[6:])
	}
	*d = r
	return true
}

func readDSN(b []byte, is64 bool) (DSN, []byte) {
	if is64 {
		return DSN(binary.BigEndian.Uint64(b)), b[8:]
	}
	return DSN(binary.BigEndian.Uint32(b)), b[4:]
}

func (a *AddAddr) read(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	r := AddAddr{Echo: b[2]&addEcho != 0, ID: b[3]}
	b = b[4:]
	if !r.Echo {
		if len(b) < 8 {
			return false
		}
		r.MAC = binary.BigEndian.Uint64(b[len(b)-8:])
		b = b[:len(b)-8]
	}
	switch len(b) {
	case 4, 6:
		r.Addr, b = netip.AddrFrom4([4]byte(b)), b[4:]
	case 16, 18:
		r.Addr, b = netip.AddrFrom16([16]byte(b)), b[16:]
	default:
		return false
	}
	if len(b) == 2 {
		r.Port = binary.BigEndian.Uint16(b)
		r.ZeroPort = r.Port == 0
	}
	*a = r
	return true
}

// writeMPTCP appends those of the options that are in has.
func (o *Options) writeMPTCP(b []byte, has OptionSet) []byte {
	if has&HasCapable != 0 {
		b = o.Capable.write(b)
	}
	if has&HasJoin != 0 {
		b = o.Join.write(b)
	}
	if has&HasDSS != 0 {
		b = o.DSS.write(b)
	}
	if has&HasAddAddr != 0 {
		b = o.AddAddr.write(b)
	}
	if has&HasRemoveAddr != 0 {
		b = head(b, subRemoveAddr, o.RemoveAddr.Len(), 0)
		b = append(b, o.RemoveAddr.IDs[:o.RemoveAddr.N]...)
	}
	if has&HasPrio != 0 {
		b = head(b, subPrio, PrioLen, flag(o.Backup, prioBackup))
	}
	if has&HasFail != 0 {
		b = append(head(b, subFail, FailLen, 0), 0)
		b = binary.BigEndian.AppendUint64(b, uint64(o.FailDSN))
	}
	if has&HasFastClose != 0 {
		b = append(head(b, subFastClose, FastCloseLen, 0), 0)
		b = binary.BigEndian.AppendUint64(b, o.CloseKey)
	}
	if has&HasReset != 0 {
		b = append(head(b, subReset, ResetLen, flag(o.Reset.Transient, resetTransient)), uint8(o.Reset.Reason))
	}
	if has&hasDraft != 0 {
		b = o.writeDraft(b, has)
	}
	return b
}

// head appends the first three octets of an MPTCP option; low is the lower half of the third.
func head(b []byte, sub, n int, low uint8) []byte {
	return append(b, kindMPTCP, uint8(n), uint8(sub<<4)|low)
}

func flag(set bool, f uint8) uint8 {
	if set {
		return f
	}
	return 0
}

func (c *Capable) write(b []byte) []byte {
	b = append(head(b, subCapable, int(c.Length), c.Version&15), uint8(c.Flags))
	if c.Length >= 12 {
		b = binary.BigEndian.AppendUint64(b, c.Sender)
	}
	if c.Length >= 20 {
		b = binary.BigEndian.AppendUint64(b, c.Receiver)
	}
	if c.Length >= 22 {
		b = binary.BigEndian.AppendUint16(b, c.DataLen)
	}
	if c.Length >= 24 {
		b = binary.BigEndian.AppendUint16(b, c.Checksum)
	}
	return b
}

func (j *Join) write(b []byte) []byte {
	if j.Length == 24 {
		b = append(head(b, subJoin, 24, 0), 0)
		return append(b, j.MAC[:]...)
	}
	b = append(head(b, subJoin, int(j.Length), flag(j.Backup, joinBackup)), j.AddressID)
	if j.Length == 12 {
		b = binary.BigEndian.AppendUint32(b, j.Token)
	} else {
		b = append(b, j.MAC[:8]...)
	}
	return binary.BigEndian.AppendUint32(b, j.Nonce)
}

func (d *DSS) write(b []byte) []byte {
	flags := flag(d.HasAck, dssAck) | flag(d.HasAck && d.Ack64, dssAck64) |
		flag(d.HasMap, dssMap) | flag(d.HasMap && d.Map64, dssMap64) | flag(d.HasMap && d.Fin, dssFin)
	b = append(head(b, subDSS, d.Len(), 0), flags)
	if d.HasAck {
		b = writeDSN(b, d.Ack, d.Ack64)
	}
	if d.HasMap {
		b = writeDSN(b, d.DSN, d.Map64)
		b = binary.BigEndian.AppendUint32(b, d.SSN)
		b = binary.BigEndian.AppendUint16(b, d.DataLen)
		if d.HasChecksum {
			b = binary.BigEndian.AppendUint16(b, d.Checksum)
		}
	}
	return b
}

func writeDSN(b []byte, d DSN, is64 bool) []byte {
	if is64 {
		return binary.BigEndian.AppendUint64(b, uint64(d))
	}
	return binary.BigEndian.AppendUint32(b, uint32(d))
}

func (a *AddAddr) write(b []byte) []byte {
	b = append(head(b, subAddAddr, a.Len(), flag(a.Echo, addEcho)), a.ID)
	if a.Addr.Is4() {
		addr := a.Addr.As4()
		b = append(b, addr[:]...)
	} else {
		addr := a.Addr.As16()
		b = append(b, addr[:]...)
	}
	if a.Port != 0 || a.ZeroPort {
		b = binary.BigEndian.AppendUint16(b, a.Port)
	}
	if !a.Echo {
		b = binary.BigEndian.AppendUint64(b, a.MAC)
	}
	return b
}
