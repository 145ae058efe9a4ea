package platform

import (
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.zx2c4.com/wireguard/tun"
)

// New returns the host that this process runs on. It changes nothing yet.
func New(cfg Config) (Host, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return &host{
		Config: cfg, sys: os.DirFS("/sys/class/net"), record: record{cfg.State}, resolv: resolvFile, made: map[string]bool{},
	}, nil
}

type host struct {
	Config
	sys    fs.FS // of /sys/class/net
	record record
	resolv string

	routing sync.Mutex // held by Route
	routed  Routing    // what holds now

	making sync.Mutex
	made   map[string]bool // the TUN devices of this process
}

// An ownTun is in its host's made until it is closed.
type ownTun struct {
	tun.Device
	host *host
	name string
}

// Close is part of Tun.
func (t ownTun) Close() error {
	err := t.Device.Close()
	t.host.note(t.name, false)
	return err
}

func (h *host) note(name string, made bool) {
	h.making.Lock()
	defer h.making.Unlock()
	if h.made[name] = made; !made {
		delete(h.made, name)
	}
}

func (h *host) own(name string) bool {
	h.making.Lock()
	defer h.making.Unlock()
	return h.made[name]
}

// Pin binds to the device, which needs no privilege, and marks, which does. Without a mark there are no routes of ours either.
func (h *host) Pin(link string) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		device, err := net.InterfaceByName(link)
		if err != nil {
			return fmt.Errorf("pin a socket to %s: there is no such link", link)
		}
		var bound error
		err = c.Control(func(fd uintptr) {
			if bound = syscall.BindToDevice(int(fd), link); bound != nil {
				return
			}
			bound = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_MARK, int(Mark(device.Index)))
			if bound == syscall.EPERM {
				bound = nil
			}
		})
		if err == nil {
			err = bound
		}
		if err != nil {
			return fmt.Errorf("pin a socket to %s: %w", link, err)
		}
		return nil
	}
}

const tunFile = "/dev/net/tun"

func (h *host) Tun(name string, mtu int) (Tun, error) {
	if err := tunReady(); err != nil {
		return nil, err
	}
	device, err := tun.CreateTUN(name, mtu)
	if err != nil {
		return nil, tunError(name, err)
	}
	go func() {
		for range device.Events() {
		}
	}()
	if name, err = device.Name(); err != nil {
		device.Close()
		return nil, fmt.Errorf("the name of the TUN device: %w", err)
	}
	// Without a link-local address of its own the kernel does not look for routers in the tunnel. A kernel without IPv6 never does.
	os.WriteFile(settingFile(setting(6, name, "addr_gen_mode")), []byte("1"), 0)
	h.note(name, true)
	return ownTun{device, h, name}, nil
}

// tunReady says what to do when TUN devices cannot be made at all.
func tunReady() error {
	f, err := os.OpenFile(tunFile, os.O_RDWR, 0)
	switch {
	case err == nil:
		return f.Close()
	case os.IsNotExist(err):
		return fmt.Errorf("there is no %s: load the module with \"modprobe tun\", or give it to the container", tunFile)
	case os.IsPermission(err):
		return fmt.Errorf("may not open %s: run as root or with CAP_NET_ADMIN, or use --socks", tunFile)
	}
	return fmt.Errorf("open %s (is the kernel built with TUN?): %w", tunFile, err)
}

func tunError(name string, err error) error {
	if number, ok := asErrno(err); ok {
		switch number {
		case syscall.EPERM, syscall.EACCES:
			return fmt.Errorf("may not make a TUN device: run as root or with CAP_NET_ADMIN, or use --socks")
		case syscall.EBUSY:
			return fmt.Errorf("the TUN device %s is in use: another tandem may be running", name)
		}
	}
	return fmt.Errorf("make the TUN device %s: %w", name, err)
}
