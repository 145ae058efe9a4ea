//go:build unix

package platform

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// Lock takes the lock that a file stands for, and makes the file if there is none. Close gives it back, as does the end of the
// process, however it ends. The error is ErrLocked when another has it.
func Lock(file string) (io.Closer, error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrLocked
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
