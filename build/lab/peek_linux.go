package lab

import (
	"net"
	"syscall"
)

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
