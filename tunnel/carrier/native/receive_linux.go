package native

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const (
	receiveRoom  = 8 << 20 // octets: what comes in one burst while nobody reads, 30 ms at 2 Gbit/s
	receiveBatch = 16      // frames a system call
)

// A receiver is the packet socket of a family.
type receiver struct {
	file     *os.File
	conn     syscall.RawConn
	unpacker *unpacker
	tally    *tally
	log      *slog.Logger

	once   func(fd uintptr) bool // recvmmsg
	number syscall.Errno         // why it has read none
	n      int                   // how many it has read

	messages [receiveBatch]message
	oobs     [receiveBatch][64]byte
	offloads [receiveBatch][offloadLen]byte
	frames   [receiveBatch][]byte
	vectors  [receiveBatch][2]unix.Iovec
}

// A message is struct mmsghdr.
type message struct {
	head unix.Msghdr
	len  uint32
}

// newReceiver returns a receiver that receives from now on.
func newReceiver(cfg *Config, s scope, t *tally) (*receiver, error) {
	fd, err := packetSocket(cfg.Link, s)
	if err != nil {
		return nil, err
	}
	r := &receiver{file: os.NewFile(uintptr(fd), "packet:"+cfg.Link), tally: t, log: cfg.Log, unpacker: newUnpacker(cfg.Deliver, t)}
	if r.conn, err = r.file.SyscallConn(); err != nil {
		r.file.Close()
		return nil, err
	}
	r.once = r.recvmmsg
	for i := range r.messages {
		r.frames[i] = make([]byte, frameMax)
		v := &r.vectors[i]
		v[0].Base, v[1].Base = &r.offloads[i][0], &r.frames[i][0]
		v[0].SetLen(offloadLen)
		v[1].SetLen(frameMax)
		head := &r.messages[i].head
		head.Iov = &v[0]
		head.SetIovlen(len(v))
		head.Control = &r.oobs[i][0]
	}
	return r, nil
}

// packetSocket opens a socket that takes what comes in on the link in one family and passes the filter. It sees merged
// segments as they are, with what was left to do (PACKET_VNET_HDR).
func packetSocket(link string, s scope) (fd int, err error) {
	device, err := net.InterfaceByName(link)
	if err != nil {
		return -1, err
	}
	// Of no protocol it receives nothing before the filter is in place.
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	kind := uint16(unix.ETH_P_IPV6)
	if s.v4() {
		kind = unix.ETH_P_IP
	}
	protocol := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, kind)) // as on the wire
	var base uint32
	steps := []func() error{
		func() error { return unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1) },
		func() error { return unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1) },
		func() error { return unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: device.Index}) },
		func() (err error) { base, err = headerBase(fd); return },
		func() error { return attach(fd, slices.Concat(forHost, s.filter(base))) },
		func() error { return unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: device.Index, Protocol: protocol}) },
	}
	enlarge(fd, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, receiveRoom)
	for _, step := range steps {
		if err = step(); err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

// forHost drops what is for other machines, which a device shows while somebody watches the network.
var forHost = []bpf.Instruction{
	bpf.LoadExtension{Num: bpf.ExtType},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_HOST, SkipTrue: 1},
	bpf.RetConstant{},
}

// headerBase returns where filters find the IP header of the frames of a bound socket's link.
func headerBase(fd int) (uint32, error) {
	const fromHeader = 1<<32 - 0x100000 // SKF_NET_OFF, which knows but finds nothing beyond a frame's first piece
	at, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	link, ok := at.(*unix.SockaddrLinklayer)
	if !ok {
		return 0, fmt.Errorf("a packet socket is bound to %T", at)
	}
	if link.Hatype == unix.ARPHRD_ETHER || link.Hatype == unix.ARPHRD_LOOPBACK {
		return ethernetLen, nil // Wi-Fi drivers put no more than that into the first piece
	}
	return fromHeader, nil
}

// run receives until close.
func (r *receiver) run() {
	for failures := 0; r.read(); {
		if r.number != 0 { // the link went down, or a frame is of a kind that cannot be told
			if failures++; failures == 1 {
				r.log.Debug("native carrier does not receive", "socket", r.file.Name(), "error", r.number)
			}
			time.Sleep(time.Duration(min(failures, 20)) * time.Millisecond)
			continue
		}
		failures = 0
		for i := range r.messages[:r.n] {
			r.take(i)
		}
		r.unpacker.flush()
	}
}

// read waits for frames or an error of the socket, and reports whether it is open still.
func (r *receiver) read() bool {
	for i := range r.messages {
		r.messages[i].head.SetControllen(len(r.oobs[i]))
	}
	return r.conn.Read(r.once) == nil
}

// recvmmsg reads, and reports whether there was anything.
func (r *receiver) recvmmsg(fd uintptr) bool {
	n, _, number := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.messages[0])), receiveBatch, unix.MSG_DONTWAIT, 0, 0)
	r.n, r.number = int(n), number
	return number != unix.EAGAIN && number != unix.EINTR
}

// take unpacks a frame that was read.
func (r *receiver) take(i int) {
	m := &r.messages[i]
	at, ok := headerAt(r.oobs[i][:m.head.Controllen])
	if !ok || m.len < offloadLen || m.head.Flags&unix.MSG_TRUNC != 0 {
		r.tally.malformed.Add(1)
		return
	}
	r.unpacker.add(r.frames[i][:m.len-offloadLen], at, parseOffload(&r.offloads[i]))
}

// headerAt returns where in a frame its IP header begins, which struct tpacket_auxdata tells.
func headerAt(oob []byte) (at int, ok bool) {
	for len(oob) >= unix.SizeofCmsghdr {
		head, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			break
		}
		if head.Level == unix.SOL_PACKET && head.Type == unix.PACKET_AUXDATA && len(data) >= 16 {
			return int(binary.NativeEndian.Uint16(data[14:])), true
		}
		oob = rest
	}
	return 0, false
}

// overrun counts what the kernel has dropped since it was last asked.
func (r *receiver) overrun() {
	r.conn.Control(func(fd uintptr) {
		if s, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			r.tally.overrun.Add(uint64(s.Drops))
		}
	})
}

func (r *receiver) close() error { return r.file.Close() }
