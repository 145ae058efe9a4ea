package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"tandem/tunnel/packet"
)

// A sysSocket is a UDP socket, a ping socket, or a raw one that has a filter for its identifier.
type sysSocket struct {
	key     key
	raw     bool   // the kernel gives IPv4 headers, and neither sets nor looks at identifiers
	id      uint16 // of echoes, if raw
	file    *os.File
	conn    syscall.RawConn
	to4     unix.SockaddrInet4
	to6     unix.SockaddrInet6
	control []byte // TTL and TOS, as cmsgs
	message []byte // of echoes
	df      bool   // as the socket is set

	once func(fd uintptr) // sends what is in sending
	sending
}

// A sending is what send is about: one goroutine calls it.
type sending struct {
	what []byte
	to   unix.Sockaddr
	hop  hop
	err  error
}

// PingSupport says why ICMP echo cannot be relayed here; nil if it can. It takes ping sockets, which
// net.ipv4.ping_group_range allows, or raw ones.
func PingSupport() error {
	for _, v4 := range []bool{true, false} {
		s, err := openSocket(key{v4: v4, echo: true})
		if err != nil {
			return err
		}
		s.close()
	}
	return nil
}

func openSocket(k key) (socket, error) {
	family, protocol := unix.AF_INET6, unix.IPPROTO_ICMPV6
	if k.v4 {
		family, protocol = unix.AF_INET, unix.IPPROTO_ICMP
	}
	if !k.echo {
		return makeSocket(k, family, unix.SOCK_DGRAM, unix.IPPROTO_UDP)
	}
	s, err := makeSocket(k, family, unix.SOCK_DGRAM, protocol)
	if err == nil {
		return s, nil
	}
	s, rawErr := makeSocket(k, family, unix.SOCK_RAW, protocol)
	if rawErr != nil {
		return nil, fmt.Errorf("neither ping sockets (net.ipv4.ping_group_range): %w, nor raw sockets: %w", err, rawErr)
	}
	return s, nil
}

func makeSocket(k key, family, kind, protocol int) (socket, error) {
	fd, err := unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &sysSocket{key: k, raw: kind == unix.SOCK_RAW, id: uint16(rand.Uint32())}
	s.once = s.sendOnce // made once, not for each packet
	if err := s.prepare(fd); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("setsockopt", err)
	}
	s.file = os.NewFile(uintptr(fd), "datagrams")
	if s.conn, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, err
	}
	return s, nil
}

var options4 = [][3]int{
	{unix.SOL_IP, unix.IP_RECVERR, 1}, {unix.SOL_IP, unix.IP_RECVTTL, 1}, {unix.SOL_IP, unix.IP_RECVTOS, 1},
}

var options6 = [][3]int{
	{unix.SOL_IPV6, unix.IPV6_RECVERR, 1}, {unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT, 1}, {unix.SOL_IPV6, unix.IPV6_RECVTCLASS, 1},
}

// By whether packets must not be cut, which is DF. Those of IPv6 that may are cut here, as no router does it, to what
// is known of the way.
var (
	cutting4 = map[bool][][3]int{
		true:  {{unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO}},
		false: {{unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT}},
	}
	cutting6 = map[bool][][3]int{
		true:  {{unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO}, {unix.SOL_IPV6, unix.IPV6_DONTFRAG, 1}},
		false: {{unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_WANT}, {unix.SOL_IPV6, unix.IPV6_DONTFRAG, 0}},
	}
)

func setOptions(fd int, options [][3]int) error {
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
			return err
		}
	}
	return nil
}

// cut makes df hold for what is sent from now on.
func (s *sysSocket) cut(fd int, df bool) error {
	s.df = df
	if s.key.v4 {
		return setOptions(fd, cutting4[df])
	}
	return setOptions(fd, cutting6[df])
}

func (s *sysSocket) prepare(fd int) error {
	options, local := options6, unix.Sockaddr(&unix.SockaddrInet6{})
	if s.key.v4 {
		options, local = options4, &unix.SockaddrInet4{}
	}
	if err := errors.Join(setOptions(fd, options), s.cut(fd, false)); err != nil {
		return err
	}
	if s.raw {
		if err := s.filter(fd); err != nil {
			return err
		}
	}
	s.control = make([]byte, 2*unix.CmsgSpace(4))
	if s.key.v4 {
		putControl(s.control, unix.SOL_IP, unix.IP_TTL)
		putControl(s.control[unix.CmsgSpace(4):], unix.SOL_IP, unix.IP_TOS)
	} else {
		putControl(s.control, unix.SOL_IPV6, unix.IPV6_HOPLIMIT)
		putControl(s.control[unix.CmsgSpace(4):], unix.SOL_IPV6, unix.IPV6_TCLASS)
	}
	if s.key.echo {
		return nil
	}
	if !s.key.v4 {
		if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return err
		}
	}
	return unix.Bind(fd, local)
}

func putControl(b []byte, level, kind int32) {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(4))
}

// filter has a raw socket get replies to its own identifier only. It sees IPv4 headers, but not IPv6's.
func (s *sysSocket) filter(fd int) error {
	reply, load := uint32(129), unix.SockFilter{Code: unix.BPF_LDX | unix.BPF_IMM}
	if s.key.v4 {
		reply, load = 0, unix.SockFilter{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH}
	}
	program := []unix.SockFilter{
		load,
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_IND},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: reply},
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 4},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(s.id)},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 17},
		{Code: unix.BPF_RET | unix.BPF_K},
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

func (s *sysSocket) close() { s.file.Close() }

// send tries again after an error that an earlier packet has left: those are read where their quotes are.
func (s *sysSocket) send(message []byte, target netip.AddrPort, h hop) error {
	if s.key.echo {
		message = s.echo(message)
	}
	binary.NativeEndian.PutUint32(s.control[unix.CmsgLen(0):], uint32(h.ttl))
	binary.NativeEndian.PutUint32(s.control[unix.CmsgSpace(4)+unix.CmsgLen(0):], uint32(h.tos))
	s.sending = sending{what: message, to: s.sockaddr(target), hop: h}
	if err := s.conn.Control(s.once); err != nil {
		return err
	}
	return s.err
}

func (s *sysSocket) sendOnce(fd uintptr) {
	if s.hop.df != s.df {
		s.cut(int(fd), s.hop.df)
	}
	for range 4 {
		_, s.err = unix.SendmsgN(int(fd), s.what, s.control, s.to, 0)
		if s.err == nil || s.err == unix.EAGAIN || s.err == unix.EMSGSIZE {
			return
		}
	}
}

func (s *sysSocket) sockaddr(target netip.AddrPort) unix.Sockaddr {
	port := int(target.Port())
	if s.key.v4 {
		s.to4.Addr, s.to4.Port = target.Addr().As4(), port
		return &s.to4
	}
	s.to6.Addr, s.to6.Port = target.Addr().As16(), port
	return &s.to6
}

// echo puts the socket's identifier into a message. Kernels do so for ping sockets, and sums over IPv6.
func (s *sysSocket) echo(message []byte) []byte {
	s.message = append(s.message[:0], message...)
	if s.raw {
		binary.BigEndian.PutUint16(s.message[4:], s.id)
		if s.key.v4 {
			packet.SumICMP(s.message)
		}
	}
	return s.message
}

// mtuTo is what the system believes of the way to a target; 1280 if it does not say.
func mtuTo(target netip.AddrPort) int {
	s := &sysSocket{key: key{v4: target.Addr().Is4()}}
	family, level, option := unix.AF_INET6, unix.SOL_IPV6, unix.IPV6_MTU
	if s.key.v4 {
		family, level, option = unix.AF_INET, unix.SOL_IP, unix.IP_MTU
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 1280
	}
	defer unix.Close(fd)
	if unix.Connect(fd, s.sockaddr(netip.AddrPortFrom(target.Addr(), max(target.Port(), 1)))) != nil {
		return 1280
	}
	mtu, err := unix.GetsockoptInt(fd, level, option)
	if err != nil {
		return 1280
	}
	return mtu
}
