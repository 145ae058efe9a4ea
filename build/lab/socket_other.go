//go:build !linux

package lab

import (
	"errors"
	"net"
	"syscall"
)

func deferConnect(string, string, syscall.RawConn) error { return errors.ErrUnsupported }

func awaitUnread(*net.TCPConn) {}
