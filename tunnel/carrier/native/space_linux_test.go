package native

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A space is a network namespace of a test's own.
type space struct {
	t    testing.TB
	name string
	file *os.File
}

func newSpace(t testing.TB, role string) *space {
	t.Helper()
	s := &space{t: t, name: fmt.Sprintf("tandem-%d-native-%s", os.Getpid(), role)}
	if out, err := exec.Command("ip", "netns", "add", s.name).CombinedOutput(); err != nil {
		t.Skipf("cannot make a network namespace: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("ip", "netns", "delete", s.name).Run() })
	var err error
	if s.file, err = os.Open("/run/netns/" + s.name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.file.Close() })
	// Link-local addresses work at once, and what is sent is what the test sends.
	s.shell("ip link set lo up", "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0")
	return s
}

// do runs a function on a thread within the namespace. Sockets that it opens stay there.
func (s *space) do(f func() error) {
	s.t.Helper()
	if err := s.try(f); err != nil {
		s.t.Fatal(err)
	}
}

func (s *space) try(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		err := unix.Setns(int(s.file.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// command prepares a program to run within the namespace.
func (s *space) command(name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", s.name, name}, args...)...)
}

// shell runs commands and returns what they print.
func (s *space) shell(commands ...string) string {
	s.t.Helper()
	out, err := s.command("sh", "-ec", strings.Join(commands, "\n")).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%q: %v: %s", commands, err, out)
	}
	return string(out)
}

// dump is everything that a carrier might touch.
func (s *space) dump() string {
	s.t.Helper()
	return s.shell("nft list ruleset || true", "ip rule; ip -6 rule", "ip route show table all; ip -6 route show table all | grep -v anycast | sort",
		"ip -o addr | sed 's/valid_lft.*//'", "ip -o link", "ss -Htan; ss -Hwan; ss -H0n",
		"sysctl -a 2>/dev/null | grep -E 'forward|rp_filter|reserved|port_range'")
}

// A world is two hosts on one wire: here with the link wlan0, there with eth0.
type world struct {
	t           testing.TB
	here, there *space
}

// newWorld makes a world in which the pairs are the hosts' addresses, and here sends everything by way of there.
func newWorld(t testing.TB) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("makes network namespaces, which takes root")
	}
	w := &world{t, newSpace(t, "here"), newSpace(t, "there")}
	w.here.shell("ip link add wlan0 type veth peer name eth0 netns " + w.there.name)
	for _, p := range pairs {
		bits := p.here.BitLen() - 8
		w.here.shell(fmt.Sprintf("ip addr add %v/%d dev wlan0 %s", p.here, bits, p.nodad()))
		w.there.shell(fmt.Sprintf("ip addr add %v/%d dev eth0 %s", p.there, bits, p.nodad()))
	}
	w.there.shell("ip link set eth0 up")
	w.here.shell("ip link set wlan0 up", "until ip link show wlan0 | grep -q 'state UP'; do sleep 0.02; done",
		"until ip -6 -o addr show dev wlan0 scope link | grep -q fe80; do sleep 0.02; done") // which comes in the kernel's own time
	for _, p := range pairs {
		w.here.shell(fmt.Sprintf("ip route add default via %v dev wlan0", p.there))
	}
	return w
}

func (p pair) nodad() string {
	if p.here.Is4() {
		return ""
	}
	return "nodad"
}

// offload sets what a device does for the kernel.
func (w *world) offload(s *space, device string, values map[uint32]uint32) {
	w.t.Helper()
	s.do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for name, value := range values {
			set := [2]uint32{name, value} // struct ethtool_value
			var ask struct {              // struct ifreq
				name [unix.IFNAMSIZ]byte
				data unsafe.Pointer
				_    [16]byte
			}
			copy(ask.name[:], device)
			ask.data = unsafe.Pointer(&set)
			if _, _, number := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ask))); number != 0 {
				return fmt.Errorf("set %#x of %s to %d: %w", name, device, value, number)
			}
		}
		return nil
	})
}

// config is that of a carrier here.
func (w *world) config(deliver func([][]byte)) Config {
	return Config{Link: "wlan0", Local4: pairs[0].here, Local6: pairs[1].here, First: first, Last: last, Deliver: deliver}
}

// open opens a carrier here, which is closed at the test's end.
func (w *world) open(cfg Config) *Carrier {
	w.t.Helper()
	var c *Carrier
	w.here.do(func() (err error) {
		c, err = Open(cfg)
		return err
	})
	w.t.Cleanup(func() { c.Close() })
	return c
}

// openThere opens a carrier there, with its own end of the pairs.
func (w *world) openThere(deliver func([][]byte)) *Carrier {
	w.t.Helper()
	var c *Carrier
	w.there.do(func() (err error) {
		c, err = Open(Config{Link: "eth0", Local4: pairs[0].there, Local6: pairs[1].there, First: first, Last: last, Deliver: deliver})
		return err
	})
	w.t.Cleanup(func() { c.Close() })
	return c
}

func port(a netip.Addr, n uint16) netip.AddrPort { return netip.AddrPortFrom(a, n) }

// receive waits for a value.
func receive[T any](t testing.TB, from <-chan T) (value T) {
	t.Helper()
	select {
	case value = <-from:
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return value
}

// netipMust is the zero Addr for nothing.
func netipMust(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}
