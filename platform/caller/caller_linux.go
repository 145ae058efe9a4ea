package caller

import "golang.org/x/sys/unix"

func of(fd int) (Caller, error) {
	u, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Caller{}, err
	}
	return Caller{int(u.Uid), int(u.Gid), int(u.Pid)}, nil
}
