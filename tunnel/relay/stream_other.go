//go:build !linux

package relay

import "net"

func newNetStream(c *net.TCPConn) Stream { return tcpStream{c} }
