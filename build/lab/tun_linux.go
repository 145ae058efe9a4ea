package lab

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// The kernel's interface to TUN devices (linux/if_tun.h).
const (
	ioctlTunSetIff = 0x400454ca
	flagTun        = 0x0001
	flagNoInfo     = 0x1000
)

// A tun is a TUN device. Whole IP packets are read from and written to it.
type tun struct {
	file *os.File
	raw  syscall.RawConn
}

// openTun makes a TUN device of that name in the namespace of the process. It vanishes when closed.
func openTun(name string) (*tun, error) {
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	var request struct {
		name  [16]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:15], name)
	request.flags = flagTun | flagNoInfo
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), ioctlTunSetIff, uintptr(unsafe.Pointer(&request))); e != 0 {
		syscall.Close(fd)
		return nil, fmt.Errorf("make TUN device %s: %w", name, e)
	}
	t := &tun{file: os.NewFile(uintptr(fd), name)}
	if t.raw, err = t.file.SyscallConn(); err != nil {
		t.file.Close()
		return nil, err
	}
	return t, nil
}

// read waits for packets and fills as many of bufs as are there, to at most their capacity.
func (t *tun) read(bufs [][]byte) (n int, err error) {
	done := t.raw.Read(func(fd uintptr) bool {
		for n < len(bufs) {
			bufs[n] = bufs[n][:cap(bufs[n])]
			size, e := syscall.Read(int(fd), bufs[n])
			if e == syscall.EAGAIN {
				return n > 0
			}
			if e != nil {
				err = e
				return true
			}
			bufs[n] = bufs[n][:size]
			n++
		}
		return true
	})
	if done != nil {
		err = done
	}
	return n, err
}

// write hands packets to the kernel. A packet that it does not take is lost, as on any link.
func (t *tun) write(pkts [][]byte) {
	for _, pkt := range pkts {
		t.file.Write(pkt)
	}
}

func (t *tun) close() { t.file.Close() }

// nap sleeps for d, to within some ten microseconds.
func nap(d time.Duration) {
	if d > 0 {
		t := syscall.NsecToTimespec(int64(d))
		syscall.Nanosleep(&t, nil)
	}
}
