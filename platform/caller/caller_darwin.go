package caller

import "golang.org/x/sys/unix"

func of(fd int) (Caller, error) {
	u, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return Caller{}, err
	}
	return Caller{UID: int(u.Uid), GID: int(u.Groups[0])}, nil
}
