// Package caller tells who is at the other end of a unix socket, as the kernel knows it.
package caller

import (
	"errors"
	"net"
	"os/user"
	"strconv"
)

// ErrUnknown is returned on systems that do not tell.
var ErrUnknown = errors.New("this system does not tell who is calling")

// A Caller is the process at the other end, as it was when it connected.
type Caller struct {
	UID, GID int
	PID      int // 0 where the system does not tell
}

// Of returns who is at the other end of a connection, which must be over a unix socket.
func Of(c net.Conn) (Caller, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return Caller{}, ErrUnknown
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return Caller{}, err
	}
	var who Caller
	var asked error
	if err := raw.Control(func(fd uintptr) { who, asked = of(int(fd)) }); err != nil {
		return Caller{}, err
	}
	return who, asked
}

// Member reports whether the caller is in the group of that name, as its first or any other.
func (c Caller) Member(group string) bool {
	g, err := user.LookupGroup(group)
	if err != nil {
		return false
	}
	if g.Gid == strconv.Itoa(c.GID) {
		return true
	}
	u, err := user.LookupId(strconv.Itoa(c.UID))
	if err != nil {
		return false
	}
	all, err := u.GroupIds()
	if err != nil {
		return false
	}
	for _, id := range all {
		if id == g.Gid {
			return true
		}
	}
	return false
}
