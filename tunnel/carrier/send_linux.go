package carrier

import (
	"errors"
	"net"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

const (
	coalesceMax       = 64             // datagrams that the system cuts at most
	coalesceOctetsMax = 1<<16 - 1 - 48 // less the headers of IP and UDP
)

// An outgoing is what one call of send needs. Messages point into the caller's packets.
type outgoing struct{ messages []ipv6.Message }

func newOutgoing() *outgoing {
	o := &outgoing{messages: make([]ipv6.Message, socketBatch)}
	for i := range o.messages {
		o.messages[i].OOB = make([]byte, 0, controlMax)
	}
	return o
}

// pack makes messages of packets: if coalesce, one of each run of equal length, of which the last may be shorter.
func (o *outgoing) pack(bufs [][]byte, to *endpoint, coalesce bool) []ipv6.Message {
	n := 0
	for ; len(bufs) > 0 && n < len(o.messages); n++ {
		m := &o.messages[n]
		run := 1
		if coalesce {
			run = runLength(bufs)
		}
		m.Addr = to.remote
		m.Buffers = bufs[:run]
		m.OOB = append(m.OOB[:0], to.control()...)
		if run > 1 {
			m.OOB = appendSegment(m.OOB, len(bufs[0]))
		}
		bufs = bufs[run:]
	}
	return o.messages[:n]
}

func runLength(bufs [][]byte) int {
	size, octets, run := len(bufs[0]), 0, 0
	for _, b := range bufs[:min(len(bufs), coalesceMax)] {
		if len(b) > size || octets+len(b) > coalesceOctetsMax {
			break
		}
		octets += len(b)
		run++
		if len(b) < size {
			break
		}
	}
	return max(run, 1)
}

// release forgets the caller's packets.
func (o *outgoing) release() {
	for i := range o.messages {
		o.messages[i].Buffers, o.messages[i].Addr = nil, nil
	}
}

// send sends packets, those that the network takes. It returns the first error if it takes none.
func (s *socket) send(bufs [][]byte, to *endpoint) error {
	o := s.outgoing.Get().(*outgoing)
	defer s.outgoing.Put(o)
	defer o.release()
	coalesce, left := s.coalesces.Load(), false
	var first error
	for len(bufs) > 0 {
		messages := o.pack(bufs, to, coalesce)
		n, err := s.batch.WriteBatch(messages, unix.MSG_DONTWAIT)
		n = max(n, 0)
		for _, m := range messages[:n] {
			bufs = bufs[len(m.Buffers):]
			left = true
		}
		if err == nil {
			continue
		}
		if first == nil {
			first = err
		}
		switch {
		case errors.Is(err, net.ErrClosed), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
			bufs = nil
		case len(messages[n].Buffers) > 1:
			coalesce = false // for those, perhaps because one of them is too long
			if errors.Is(err, unix.EIO) {
				s.coalesces.Store(false) // this link cannot, as udp(7) says of devices without checksums
			}
		case errors.Is(err, unix.EMSGSIZE):
			bufs = bufs[1:]
		case to.control() != nil: // perhaps the address is ours no more
			to.ClearSrc()
		default:
			bufs = nil
		}
	}
	if left {
		return nil
	}
	return first
}
