package lab

import (
	"net"
	"syscall"
)

// tcpFastOpenConnect is TCP_FASTOPEN_CONNECT: what is written first rides in the SYN if there is a cookie.
const tcpFastOpenConnect = 30

// deferConnect is for net.Dialer.Control.
func deferConnect(_, _ string, c syscall.RawConn) error {
	var err error
	if outer := c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpFastOpenConnect, 1)
	}); outer != nil {
		return outer
	}
	return err
}

// awaitUnread waits until octets have come that nobody has read, or nothing more will come.
func awaitUnread(c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	var octet [1]byte
	raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), octet[:], syscall.MSG_PEEK)
		return err != syscall.EAGAIN
	})
}
