package relay

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"tandem/tunnel/packet"
)

// received holds what a socket reads into.
type received struct {
	octets  [64 << 10]byte
	control [256]byte
	name    unix.RawSockaddrAny
	part    unix.Iovec
	message unix.Msghdr
	arrival arrival
}

var receivedPool = sync.Pool{New: func() any { return new(received) }}

func (s *sysSocket) read(max int, each func(*arrival)) error {
	return s.conn.Read(func(fd uintptr) bool { return s.look(int(fd), max, each) })
}

// look reports whether something had come. Errors that calls give are those of the queue, which tells more of
// them, so they only send us there. Both are found empty before anybody waits: the poller tells of changes.
func (s *sysSocket) look(fd, max int, each func(*arrival)) bool {
	b := receivedPool.Get().(*received)
	defer receivedPool.Put(b)
	got := 0
	for tries := 2 * max; tries > 0 && got < max; tries-- {
		err := s.receive(fd, b, each)
		if err != nil && (err != unix.EAGAIN || got == 0) && s.receiveError(fd, b, each) == nil {
			err = nil
		}
		switch err {
		case nil:
			got++
		case unix.EAGAIN:
			return got > 0
		}
	}
	return got > 0
}

// take is recvmsg(2), which allocates nothing here.
func (b *received) take(fd, flags int) (*arrival, error) {
	b.part.Base = &b.octets[0]
	b.part.SetLen(len(b.octets))
	b.message = unix.Msghdr{Name: (*byte)(unsafe.Pointer(&b.name)), Namelen: unix.SizeofSockaddrAny, Iov: &b.part, Control: &b.control[0]}
	b.message.SetIovlen(1)
	b.message.SetControllen(len(b.control))
	n, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.message)), uintptr(flags))
	if errno != 0 {
		return nil, errno
	}
	b.arrival = arrival{from: b.addrPort(), payload: b.octets[:n]}
	b.arrival.read(b.control[:b.message.Controllen])
	return &b.arrival, nil
}

func (b *received) addrPort() netip.AddrPort {
	switch b.name.Addr.Family {
	case unix.AF_INET:
		a := (*unix.RawSockaddrInet4)(unsafe.Pointer(&b.name))
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), port(a.Port))
	case unix.AF_INET6:
		a := (*unix.RawSockaddrInet6)(unsafe.Pointer(&b.name))
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), port(a.Port))
	}
	return netip.AddrPort{}
}

// port reads what lies in the memory of an address in the order of the network.
func port(raw uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], raw)
	return binary.BigEndian.Uint16(b[:])
}

func (s *sysSocket) receive(fd int, b *received, each func(*arrival)) error {
	a, err := b.take(fd, 0)
	if err != nil {
		return err
	}
	if !s.key.echo || s.isReply(a) {
		each(a)
	}
	return nil
}

// isReply strips an arrival of its IPv4 header, and looks whether it is for this socket.
func (s *sysSocket) isReply(a *arrival) bool {
	a.from = netip.AddrPortFrom(a.from.Addr(), 0)
	if s.raw && s.key.v4 && len(a.payload) > 0 {
		a.payload = a.payload[min(len(a.payload), int(a.payload[0]&15)*4):]
	}
	return s.ours(a.payload, 0, 129)
}

// ours reports whether an ICMP message is of a type, by family, and of this socket's identifier.
func (s *sysSocket) ours(message []byte, type4, type6 byte) bool {
	if s.key.v4 {
		type6 = type4
	}
	return len(message) >= 8 && message[0] == type6 && (!s.raw || binary.BigEndian.Uint16(message[4:]) == s.id)
}

// receiveError takes an ICMP error from the socket's queue. What the kernel says itself send has told.
func (s *sysSocket) receiveError(fd int, b *received, each func(*arrival)) error {
	a, err := b.take(fd, unix.MSG_ERRQUEUE)
	if err != nil {
		return err
	}
	if s.key.echo {
		if !s.ours(a.payload, 8, 128) {
			return nil
		}
		a.from, a.payload = netip.AddrPortFrom(a.from.Addr(), 0), a.payload[6:]
	}
	if a.why != 0 {
		each(a)
	}
	return nil
}

// read takes what the kernel says beside an arrival.
func (a *arrival) read(control []byte) {
	for len(control) >= unix.CmsgLen(0) {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return
		}
		control = rest
		v4 := h.Level == unix.SOL_IP
		switch {
		case v4 && h.Type == unix.IP_TOS && len(data) > 0:
			a.tos = data[0]
		case !v4 && h.Type == unix.IPV6_TCLASS && len(data) >= 4:
			a.tos = uint8(binary.NativeEndian.Uint32(data))
		case v4 && h.Type == unix.IP_TTL && len(data) >= 4, !v4 && h.Type == unix.IPV6_HOPLIMIT && len(data) >= 4:
			a.ttl = uint8(binary.NativeEndian.Uint32(data))
		case v4 && h.Type == unix.IP_RECVERR, !v4 && h.Type == unix.IPV6_RECVERR:
			a.complaint(data)
		}
	}
}

// complaint reads a sock_extended_err and the address behind it.
func (a *arrival) complaint(data []byte) {
	var e unix.SockExtendedErr
	const size = int(unsafe.Sizeof(e))
	if len(data) < size {
		return
	}
	e = *(*unix.SockExtendedErr)(unsafe.Pointer(&data[0]))
	if e.Origin != unix.SO_EE_ORIGIN_ICMP && e.Origin != unix.SO_EE_ORIGIN_ICMP6 {
		return
	}
	a.why = packet.KindOf(e.Origin == unix.SO_EE_ORIGIN_ICMP, e.Type, e.Code)
	a.mtu = int(min(e.Info, 0xffff))
	offender := data[size:]
	switch {
	case len(offender) >= 8 && binary.NativeEndian.Uint16(offender) == unix.AF_INET:
		a.offender = netip.AddrFrom4([4]byte(offender[4:]))
	case len(offender) >= 24 && binary.NativeEndian.Uint16(offender) == unix.AF_INET6:
		a.offender = netip.AddrFrom16([16]byte(offender[8:]))
	}
}
