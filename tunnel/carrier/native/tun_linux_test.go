package native

import (
	"bytes"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tun makes a link without link-layer headers in the namespace, as modems are, whose other end is the file.
func (s *space) tun(name string) (end *os.File) {
	s.t.Helper()
	s.do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			s.t.Skipf("cannot make a TUN device: %v", err)
		}
		ask, err := unix.NewIfreq(name)
		if err == nil {
			ask.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ask)
		}
		if err != nil {
			unix.Close(fd)
			return err
		}
		end = os.NewFile(uintptr(fd), name)
		return nil
	})
	s.t.Cleanup(func() { end.Close() })
	return end
}

// TestModem: on a link without link-layer headers packets are found and sent too.
func TestModem(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("makes a network namespace, which takes root")
	}
	here := newSpace(t, "here")
	end := here.tun("wwan0")
	for _, p := range pairs {
		here.shell("ip addr add "+p.here.String()+" dev wwan0 "+p.nodad(), "ip link set wwan0 up", "ip route add "+p.there.String()+" dev wwan0")
	}
	end.SetDeadline(time.Now().Add(patience))
	got := make(chan []byte, 16)
	w := &world{t: t, here: here}
	cfg := w.config(func(pkts [][]byte) {
		for _, pkt := range pkts {
			got <- bytes.Clone(pkt)
		}
	})
	cfg.Link = "wwan0"
	c := w.open(cfg)
	for _, p := range pairs {
		sent := segment(p.here, p.there, first, 80, "going out")
		if err := c.Send([][]byte{sent}); err != nil {
			t.Fatal(err)
		}
		for came := make([]byte, 2000); ; {
			n, err := end.Read(came)
			if err != nil {
				t.Fatalf("%s: %v", p.name, err)
			}
			if string(came[:n]) == string(sent) {
				break // others are the kernel's own
			}
		}
		icmp := tooBig(t, p.there, sent)
		for _, pkt := range [][]byte{segment(p.there, p.here, 80, first-1, "not ours"), segment(p.there, p.here, 80, first, "ours"), icmp} {
			if _, err := end.Write(pkt); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range [][]byte{segment(p.there, p.here, 80, first, "ours"), icmp} {
			if pkt := receive(t, got); !bytes.Equal(pkt, want) {
				t.Errorf("%s: received %x, want %x", p.name, pkt, want)
			}
		}
	}
}
