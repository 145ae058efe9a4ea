package lab

import "syscall"

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
