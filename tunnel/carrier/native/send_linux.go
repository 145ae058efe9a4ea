package native

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

const (
	// sendRoom is how many octets wait for the link in a sender's socket, of which the kernel's own bookkeeping takes half: what
	// waits there is delay.
	sendRoom = 1 << 20

	sendBatch = 64 // packets a system call
)

// A sender is the raw socket of a family. The kernel makes nothing of what it sends but the checksum of IPv4's header.
type sender struct {
	scope scope
	tally *tally
	conn  *net.IPConn
	batch interface {
		WriteBatch(ms []ipv6.Message, flags int) (int, error)
	}

	mu       sync.Mutex // guards what follows
	messages []ipv6.Message
	targets  []net.IPAddr
	waits    int // of messages
}

func newSender(cfg *Config, local netip.Addr, t *tally) (*sender, error) {
	network := "ip6:255" // IPPROTO_RAW: whole packets, and nothing is received
	if local.Is4() {
		network = "ip4:255"
	}
	listen := net.ListenConfig{Control: func(network, address string, c syscall.RawConn) error {
		var bound error
		err := c.Control(func(fd uintptr) {
			enlarge(int(fd), unix.SO_SNDBUF, unix.SO_SNDBUFFORCE, sendRoom)
			bound = unix.BindToDevice(int(fd), cfg.Link)
		})
		if err = errors.Join(err, bound); err != nil || cfg.Pin == nil {
			return err
		}
		return cfg.Pin(network, address, c)
	}}
	c, err := listen.ListenPacket(context.Background(), network, local.String())
	if err != nil {
		return nil, err
	}
	s := &sender{scope: newScope(local, cfg.First, cfg.Last), tally: t, conn: c.(*net.IPConn),
		messages: make([]ipv6.Message, sendBatch), targets: make([]net.IPAddr, sendBatch)}
	for i := range s.messages {
		s.messages[i].Buffers = make([][]byte, 1)
		s.messages[i].Addr = &s.targets[i]
	}
	if local.Is4() {
		s.batch = ipv4.NewPacketConn(c)
	} else {
		s.batch = ipv6.NewPacketConn(c)
	}
	return s, nil
}

// enlarge asks for room in a socket, beyond the system's limit if that is allowed.
func enlarge(fd, name, force, octets int) {
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, name, octets)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, octets)
}

// send sends packets of the family. The error is the network's, the first of several; that there is no room is none.
func (s *sender) send(pkts [][]byte) (first error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pkt := range pkts {
		if !s.scope.sends(pkt) {
			s.tally.refused.Add(1)
			continue
		}
		target := pkt[24:header6]
		if s.scope.v4() {
			target = pkt[16:header4]
		}
		s.messages[s.waits].Buffers[0], s.targets[s.waits].IP = pkt, target
		if s.waits++; s.waits == sendBatch {
			first = s.flush(first)
		}
	}
	return s.flush(first)
}

// flush sends the messages that wait, and returns the first error.
func (s *sender) flush(first error) error {
	for left := s.messages[:s.waits]; len(left) > 0; {
		n, err := s.batch.WriteBatch(left, unix.MSG_DONTWAIT)
		for _, m := range left[:max(n, 0)] {
			s.tally.sent.Add(1)
			s.tally.sentOctets.Add(uint64(len(m.Buffers[0])))
		}
		if left = left[max(n, 0):]; err == nil {
			continue
		}
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS) {
			s.tally.noRoom.Add(uint64(len(left)))
			break
		}
		if first == nil {
			first = err
		}
		if errors.Is(err, unix.EMSGSIZE) {
			s.tally.tooLong.Add(1)
		} else {
			s.tally.unsent.Add(1)
		}
		left = left[1:] // the next may be for somebody who can be reached
	}
	for i := range s.waits {
		s.messages[i].Buffers[0], s.targets[i].IP = nil, nil
	}
	s.waits = 0
	return first
}
