package carrier

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlMax is room for every control message that we ask for.
var controlMax = unix.CmsgSpace(unix.SizeofInet6Pktinfo) + unix.CmsgSpace(4)

// appendControl appends the head of a control message and returns its data to be filled.
func appendControl(oob []byte, level, kind int32, size int) (whole, data []byte) {
	at := len(oob)
	whole = append(oob, make([]byte, unix.CmsgSpace(size))...)
	head := (*unix.Cmsghdr)(unsafe.Pointer(&whole[at]))
	head.Level, head.Type = level, kind
	head.SetLen(unix.CmsgLen(size))
	return whole, whole[at+unix.CmsgLen(0):]
}

// sourceControl returns the control message that makes the system send from src.
func sourceControl(src netip.Addr) []byte {
	if src.Is4() {
		oob, data := appendControl(nil, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
		copy(data[4:], src.AsSlice()) // ipi_spec_dst, after the interface
		return oob
	}
	oob, data := appendControl(nil, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
	copy(data, src.AsSlice())
	return oob
}

// appendSegment appends the control message that makes the system cut what is sent into datagrams of size.
func appendSegment(oob []byte, size int) []byte {
	oob, data := appendControl(oob, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2)
	binary.NativeEndian.PutUint16(data, uint16(size))
	return oob
}

// parseControl returns which of our addresses was asked, and the size of coalesced datagrams, 0 if
// there is only one.
func parseControl(oob []byte) (src netip.Addr, size int) {
	for len(oob) >= unix.SizeofCmsghdr {
		head, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		switch {
		case head.Level == unix.IPPROTO_IP && head.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			src = netip.AddrFrom4([4]byte(data[4:]))
		case head.Level == unix.IPPROTO_IPV6 && head.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			src = netip.AddrFrom16([16]byte(data))
		case head.Level == unix.IPPROTO_UDP && head.Type == unix.UDP_GRO && len(data) >= 4:
			size = int(binary.NativeEndian.Uint32(data))
		}
		oob = rest
	}
	return src, size
}
