//go:build !linux

package lab

import (
	"errors"
	"syscall"
)

func deferConnect(string, string, syscall.RawConn) error { return errors.ErrUnsupported }
