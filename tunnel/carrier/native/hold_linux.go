package native

import (
	"errors"
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A hold is a range of TCP ports of a link, in which the kernel meets sockets that drop all before it thinks of an answer.
type hold []int

// newHold takes the ports, for IPv4 alone or both families. The error is EADDRINUSE if somebody else has one.
func newHold(link string, both bool, first, last uint16) (h hold, err error) {
	for port := int(first); port <= int(last); port++ {
		fd, err := holdPort(link, both, port)
		if err != nil {
			h.release()
			return nil, fmt.Errorf("hold TCP port %d: %w", port, err)
		}
		h = append(h, fd)
	}
	return h, nil
}

func holdPort(link string, both bool, port int) (fd int, err error) {
	family, at := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: port})
	if both {
		family, at = unix.AF_INET6, &unix.SockaddrInet6{Port: port}
	}
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return -1, err
	}
	if both {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
	}
	steps := []func() error{
		func() error { return unix.BindToDevice(fd, link) },
		func() error { return attach(fd, []bpf.Instruction{bpf.RetConstant{}}) }, // before it listens
		func() error { return unix.Bind(fd, at) },
		func() error { return unix.Listen(fd, 0) },
	}
	for _, step := range steps {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		unix.Close(fd)
	}
	return fd, err
}

// attach has a socket receive only what a filter takes.
func attach(fd int, filter []bpf.Instruction) error {
	raw, err := bpf.Assemble(filter)
	if err != nil {
		return err
	}
	steps := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		steps[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(steps)), Filter: &steps[0]})
}

// release gives the ports back. From then on the kernel answers for them.
func (h hold) release() (err error) {
	for _, fd := range h {
		err = errors.Join(err, unix.Close(fd))
	}
	return err
}
