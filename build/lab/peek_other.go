//go:build !linux

package lab

import "net"

func awaitUnread(*net.TCPConn) {}
