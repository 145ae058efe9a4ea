package server

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tandem/app/apptest"
	"tandem/engine"
	"tandem/tunnel/packet"
)

// However a connection ends, its file is given back: closed, reset by the device, reset by its target, or with
// the device.
func TestFilesAreGivenBack(t *testing.T) {
	w := newWorld(t, 1)
	target, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	w.config.Dialer = apptest.Loop{At: target.Addr().String()}
	w.start()
	d := w.join(w.invite(InviteOptions{}), "laptop", 0)
	used := func() int {
		w.server.budget.mu.Lock()
		defer w.server.budget.mu.Unlock()
		return w.server.budget.used
	}
	for _, c := range []struct {
		how string
		end func(c *engine.Conn, there *net.TCPConn)
	}{
		{"reset by the device", func(c *engine.Conn, _ *net.TCPConn) { c.Abort(net.ErrClosed) }},
		{"reset by its target", func(_ *engine.Conn, there *net.TCPConn) { there.SetLinger(0); there.Close() }},
		{"closed by both", func(c *engine.Conn, there *net.TCPConn) { c.Close(); there.Close() }},
		{"revoked", func(*engine.Conn, *net.TCPConn) { w.server.Revoke("laptop") }},
	} {
		conn, err := d.dial(somewhere)
		if err != nil {
			t.Fatal(err)
		}
		there, err := target.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer there.Close()
		if n := used(); n != 1 {
			t.Errorf("%s: %d files are counted while it is open", c.how, n)
		}
		c.end(conn, there.(*net.TCPConn))
		apptest.Until(t, c.how+": nothing is counted", func() bool { return used() == 0 })
	}
}

// A crowd of dials waits its turn: none is refused for being one of many.
func TestCrowdWaitsItsTurn(t *testing.T) {
	w := newWorld(t, 1).start()
	d := w.join(w.invite(InviteOptions{}), "laptop", 0)
	const crowd, dials = 64, dialingMax + 2*64
	var begun atomic.Int64
	var dialing sync.WaitGroup
	var failures atomic.Int64
	began := time.Now()
	for range crowd {
		dialing.Go(func() {
			for begun.Add(1) <= dials {
				c, err := d.dial(somewhere)
				if err != nil {
					failures.Add(1)
					continue
				}
				c.Close()
			}
		})
	}
	dialing.Wait()
	if n := failures.Load(); n != 0 {
		t.Errorf("%d of %d dials failed", n, dials)
	}
	if took, least := time.Since(began), (dials-dialingMax)*time.Second/dialsPerSecond; took < least*9/10 {
		t.Errorf("%d dials took %v, and were to take %v", dials, took, least)
	}
}

// A hub that is started with few files, of which the system permits more, takes what it permits.
func TestFilesAreRaised(t *testing.T) {
	if text := os.Getenv("TANDEM_TEST_FILES"); text != "" {
		os.Stdout.WriteString("files:" + strconv.Itoa(openFiles("/proc/self/limits")) + ":")
		return
	}
	few, err := exec.Command("sh", "-c", `ulimit -Sn 256 && ulimit -Hn 2000 && TANDEM_TEST_FILES=1 exec "$0" -test.run=^TestFilesAreRaised$`, os.Args[0]).CombinedOutput()
	if err != nil {
		t.Skipf("%v: %s", err, few)
	}
	if got := string(few); !strings.HasPrefix(got, "files:2000:") && !strings.HasPrefix(got, "files:1999:") {
		t.Errorf("with 256 files of 2000 it has %s", got)
	}
}

func TestDeniedTargetsAreProhibited(t *testing.T) {
	w := newWorld(t, 1)
	w.config.Dialer = nil
	w.start()
	d := w.join(w.invite(InviteOptions{}), "laptop", 0)
	for _, target := range []string{
		"127.0.0.1:80", "10.0.0.1:80", "169.254.169.254:80", "[::1]:80", "[64:ff9b::7f00:1]:80", "198.18.0.1:8684", "93.184.216.34:25",
	} {
		if _, err := d.dial(target); !errors.Is(err, engine.ErrRefused) {
			t.Errorf("%s: %v", target, err)
		}
	}
}

// The same for datagrams and echoes, whole or in fragments: the device is told, and nothing leaves.
func TestDeniedDatagramsAreProhibited(t *testing.T) {
	w := newWorld(t, 1).start()
	d := w.join(w.invite(InviteOptions{}), "laptop", 0)
	if _, err := d.dial(somewhere); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{
		"127.0.0.1", "10.0.0.1", "169.254.169.254", "198.18.0.9", "0.0.0.0", "::1", "64:ff9b::7f00:1", "fe80::1", "fd00::1", "2002:a00:1::1",
	} {
		p := packet.Packet{Source: d.host4, Target: netip.MustParseAddr(target), TTL: 64}
		kind, code := byte(3), byte(13)
		if p.Target.Is6() {
			p.Source, kind, code = d.host6, 1, 1
		}
		var long packet.Packet
		if err := long.Parse(p.AppendUDP(nil, 4000, 53, make([]byte, 2000))); err != nil {
			t.Fatal(err)
		}
		long.ID = 7
		octets, ends := long.AppendFragments(nil, nil, 1280)
		for what, pkts := range map[string][][]byte{
			"a datagram": {p.AppendUDP(nil, 4000, 53, []byte("x"))},
			"an echo":    {p.AppendEcho(nil, packet.Echo{ID: 1})},
			"fragments":  {octets[:ends[0]], octets[ends[0]:]},
		} {
			d.bond.SendPackets(pkts)
			select {
			case b := <-d.packets:
				var e packet.Packet
				if err := e.Parse(b); err != nil || len(e.Body) < 2 || e.Body[0] != kind || e.Body[1] != code || e.Target != p.Source {
					t.Errorf("%s to %s: %v %x", what, target, err, b)
				}
			case <-time.After(patience):
				t.Fatalf("%s to %s: silence", what, target)
			}
		}
	}
	if s := w.server.device(1).session.lane.Stats(); s.Sent != 0 || s.Mappings != 0 || s.Prohibited == 0 {
		t.Errorf("%+v", s)
	}
}

func TestDeviceHasItsShareOfConnections(t *testing.T) {
	w := newWorld(t, 2).start()
	w.server.budget.total = 20
	d := w.join(w.invite(InviteOptions{}), "laptop", 0)
	other := w.join(w.invite(InviteOptions{}), "desk", 1)
	var open []net.Conn
	for range shareMin {
		c, err := d.dial(somewhere)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	if _, err := d.dial(somewhere); !errors.Is(err, engine.ErrRefused) {
		t.Errorf("one more than its share: %v", err)
	}
	if c, err := other.dial(somewhere); err != nil {
		t.Errorf("another device: %v", err)
	} else {
		echoes(t, c, "hello")
	}
	if n := w.server.counters.limited.Load(); n != 1 {
		t.Errorf("%d were counted", n)
	}
	open[0].Close()
	apptest.Until(t, "one that is closed makes room", func() bool {
		c, err := d.dial(somewhere)
		if err == nil {
			echoes(t, c, "hello")
		}
		return err == nil
	})
}
