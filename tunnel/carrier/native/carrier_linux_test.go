package native

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tandem/engine/wire"
)

// TestKernel has a connection with the kernel's TCP at the other end. No RST is seen on the wire until the carrier is closed.
func TestKernel(t *testing.T) {
	for _, p := range pairs {
		// Between its namespaces and virtual machines Linux sends merged segments with unfinished checksums as they are.
		t.Run(p.name, func(t *testing.T) {
			if n := newWorld(t).talk(p); n.Merged == 0 {
				t.Errorf("nothing was merged: %+v", n)
			}
		})
		// Over other wires segments come one by one, and are merged on arrival if they come fast.
		t.Run(p.name+" over a wire", func(t *testing.T) {
			w := newWorld(t)
			w.offload(w.there, "eth0", map[uint32]uint32{unix.ETHTOOL_STXCSUM: 0, unix.ETHTOOL_STSO: 0, unix.ETHTOOL_SGSO: 0})
			w.offload(w.here, "wlan0", map[uint32]uint32{unix.ETHTOOL_SGRO: 1})
			t.Logf("%+v", w.talk(p))
		})
	}
}

// talk hears and says something over a connection with the kernel there, and returns what the carrier had counted at its end.
func (w *world) talk(p pair) Counters {
	t := w.t
	t.Helper()
	const there, pieces = 8080, 40
	tap := w.tap()
	h := newHand(t, port(p.here, first+3), port(p.there, there))
	text, piece := bytes.Repeat([]byte("all of this comes over a link as it is, "), 100_000), strings.Repeat("reply", 200)
	listener, err := w.listenThere(h.remote.String())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	heard := make(chan []byte, 1)
	go func() {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.Write(text)
		got, _ := io.ReadAll(c)
		heard <- got
	}()

	h.carrier = w.open(w.config(h.deliver))
	h.connect()
	h.wait("text", func() bool { return len(h.got) == len(text) })
	if !bytes.Equal(h.got, text) {
		t.Error("what came is not what was sent")
	}
	for range pieces {
		h.say(wire.ACK|wire.PSH, piece)
	}
	h.say(wire.ACK|wire.FIN, "")
	h.wait("end", func() bool { return h.finished && h.acked == h.seq })
	if got := receive(t, heard); string(got) != strings.Repeat(piece, pieces) {
		t.Errorf("there, %d octets were heard", len(got))
	}

	n := h.carrier.Counters()
	if n.Malformed+n.Overrun+n.Refused+n.Unsent+n.TooLong != 0 {
		t.Errorf("%+v", n)
	}
	if resets := tap.resets(h.local); resets > 0 || h.reset {
		t.Errorf("%d RST from here, RST from there: %v", resets, h.reset)
	}
	h.carrier.Close()
	w.knock(h)
	tap.want(h.local)
	return n
}

func (w *world) listenThere(address string) (l net.Listener, err error) {
	err = w.there.try(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	return l, err
}

// knock has the kernel there send a SYN to the hand's port, and returns what it was told.
func (w *world) knock(h *hand) error {
	return w.there.try(func() error {
		d := net.Dialer{Timeout: patience}
		c, err := d.Dial("tcp", h.local.String())
		if err == nil {
			c.Close()
		}
		return err
	})
}

// TestStranger: the kernel does not answer a SYN either, which is the engine's to accept or refuse.
func TestStranger(t *testing.T) {
	w := newWorld(t)
	for _, p := range pairs {
		tap := w.tap()
		h := newHand(t, port(p.here, last), port(p.there, 5000))
		syn := make(chan wire.Segment, 16)
		c := w.open(w.config(func(pkts [][]byte) {
			for _, pkt := range pkts {
				var s wire.Segment
				if s.Parse(pkt) == nil && s.Flags.Has(wire.SYN) {
					syn <- s
				}
			}
		}))
		refused := make(chan error)
		go func() { refused <- w.knock(h) }()
		s := receive(t, syn)
		if s.Target != h.local || tap.resets(h.local) > 0 {
			t.Errorf("%s: SYN for %v", p.name, s.Target)
		}
		answer := wire.Segment{Source: s.Target, Target: s.Source, Ack: s.Seq + 1, Flags: wire.RST | wire.ACK}
		if err := c.Send([][]byte{answer.Append(nil)}); err != nil {
			t.Fatal(err)
		}
		if err := receive(t, refused); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v", p.name, err)
		}
		c.Close()
	}
}

// TestHeld: ports that are held are nobody else's, and those that are somebody else's cannot be held.
func TestHeld(t *testing.T) {
	w := newWorld(t)
	listen := func(address string) (l net.Listener, err error) {
		err = w.here.try(func() (err error) {
			l, err = net.Listen("tcp", address)
			return err
		})
		return l, err
	}
	other, err := listen(":61004")
	if err != nil {
		t.Fatal(err)
	}
	cfg := w.config(func([][]byte) {})
	err = w.here.try(func() error {
		_, err := Open(cfg)
		return err
	})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "61004") {
		t.Errorf("opened on a port in use: %v", err)
	}
	other.Close()

	// So it is with the port of a connection that the kernel chose.
	w.here.shell("sysctl -qw net.ipv4.ip_local_port_range='61006 61006'")
	there, err := w.listenThere("192.0.2.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	var out net.Conn
	w.here.do(func() (err error) {
		out, err = net.Dial("tcp", "192.0.2.1:80")
		return err
	})
	err = w.here.try(func() error {
		_, err := Open(cfg)
		return err
	})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "61006") {
		t.Errorf("opened on the port of a connection: %v", err)
	}
	out.(*net.TCPConn).SetLinger(0)
	out.Close()

	c := w.open(cfg)
	for _, address := range []string{":61000", "0.0.0.0:61007", "[::]:61003"} {
		if l, err := listen(address); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("listen on %s: %v, %v", address, l, err)
		}
	}
	w.here.shell("sysctl -qw net.ipv4.ip_local_port_range='61000 61009'")
	for range 2 { // there are ten ports, and two of them are not held
		l, err := listen(":0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	if l, err := listen(":0"); err == nil {
		t.Errorf("the kernel gave away %v", l.Addr())
	}
	c.Close()
	if l, err := listen(":61000"); err != nil {
		t.Errorf("after Close: %v", err)
	} else {
		l.Close()
	}
}

// TestFirewall: one that lets in what was asked for, and rejects the rest with RST, takes a carrier's connections for the machine's own.
func TestFirewall(t *testing.T) {
	for _, p := range pairs {
		t.Run(p.name, func(t *testing.T) {
			w := newWorld(t)
			if out, err := w.here.command("nft", `table inet firewall {
				chain in { type filter hook input priority 0; ct state established accept; meta l4proto tcp reject with tcp reset; }
				chain out { type filter hook output priority 0; ct state invalid drop; }
			}`).CombinedOutput(); err != nil {
				t.Skipf("nft: %v: %s", err, out)
			}
			tap := w.tap()
			h := newHand(t, port(p.here, first), port(p.there, 80))
			listener, err := w.listenThere(h.remote.String())
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			go func() {
				if c, err := listener.Accept(); err == nil {
					io.Copy(c, c)
					c.Close()
				}
			}()
			h.carrier = w.open(w.config(h.deliver))
			h.connect()
			h.say(wire.ACK, "echo")
			h.wait("echo", func() bool { return string(h.got) == "echo" })
			h.say(wire.ACK|wire.FIN, "")
			h.wait("end", func() bool { return h.finished && h.acked == h.seq })
			if n := tap.resets(h.local); n > 0 {
				t.Errorf("%d RST", n)
			}
			w.knock(h)
			tap.want(h.local) // which shows that the firewall is one
		})
	}
}

// TestClose: sockets are given back, also those of a carrier that could not be opened, and nobody waits for who delivers and sends.
func TestClose(t *testing.T) {
	w := newWorld(t)
	p := pairs[0]
	sockets := func() (n int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if what, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.HasPrefix(what, "socket:") {
				n++
			}
		}
		return n
	}
	there := w.openThere(func([][]byte) {})
	before := sockets()
	opened, closing := make(chan *Carrier, 1), make(chan struct{}, 1)
	c := w.open(w.config(func([][]byte) {
		c := <-opened
		closing <- struct{}{}
		for c.Send(nil) == nil {
			runtime.Gosched()
		}
	}))
	opened <- c
	there.Send([][]byte{segment(p.there, p.here, first, first, "")})
	receive(t, closing)
	c.Close()
	if err := c.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	cfg := w.config(func([][]byte) {})
	cfg.Local6 = pairs[1].other
	w.here.try(func() error {
		if _, err := Open(cfg); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("opened with an address that is not here: %v", err)
		}
		return nil
	})
	if after := sockets(); after != before {
		t.Errorf("%d sockets, and %d before", after, before)
	}
}

func TestExplain(t *testing.T) {
	for err, want := range map[error]string{syscall.EPERM: "CAP_NET_RAW", syscall.EMFILE: "LimitNOFILE", syscall.ENODEV: "no such device"} {
		if got := explain(fmt.Errorf("do: %w", err)); !errors.Is(got, err) || !strings.Contains(got.Error(), want) {
			t.Errorf("%v: %v", err, got)
		}
	}
}

// TestSame: carriers of several links hold the same ports.
func TestSame(t *testing.T) {
	w := newWorld(t)
	w.here.shell("ip link add wwan0 type veth peer name far", "ip addr add 198.51.100.2/24 dev wwan0", "ip link set far up", "ip link set wwan0 up")
	cfg := w.config(func([][]byte) {})
	w.open(cfg)
	cfg.Link, cfg.Local4 = "wwan0", pairs[0].other.Next()
	err := w.here.try(func() error {
		_, err := Open(cfg)
		return err
	})
	if !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("opened with an address that is not here: %v", err)
	}
	cfg.Local4, cfg.Local6 = netipMust("198.51.100.2"), netipMust("")
	w.open(cfg)
}

// TestRefused: what is not ours is not sent, and what is is.
func TestRefused(t *testing.T) {
	w := newWorld(t)
	got := make(chan int, 1000)
	w.openThere(func(pkts [][]byte) { got <- len(pkts) })
	c := w.open(w.config(func([][]byte) {}))
	var pkts [][]byte
	for _, p := range pairs {
		pkts = append(pkts, segment(p.here, p.there, first, first, ""), segment(p.other, p.there, first, first, ""),
			segment(p.here, p.there, last+1, first, ""), segment(p.here, p.there, last, last, "data"))
	}
	if err := c.Send(append(pkts, []byte{0x55}, nil)); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < 4; {
		n += receive(t, got)
	}
	if n := c.Counters(); n.Sent != 4 || n.Refused != 6 || n.SentOctets != 40+44+60+64 {
		t.Errorf("%+v", n)
	}
	c.Close()
	if err := c.Send(pkts); err != net.ErrClosed {
		t.Errorf("after Close: %v", err)
	}
}

// TestTooLong: what the link does not take says so, and does not hold up others.
func TestTooLong(t *testing.T) {
	w := newWorld(t)
	c := w.open(w.config(func([][]byte) {}))
	for i, p := range pairs {
		long := segment(p.here, p.there, first, first, strings.Repeat("x", 1500))
		short := segment(p.here, p.there, first, first, "")
		if err := c.Send([][]byte{short, long, short}); !errors.Is(err, syscall.EMSGSIZE) {
			t.Errorf("%s: %v", p.name, err)
		}
		if err := c.Send([][]byte{long, segment(pairs[1-i].here, pairs[1-i].there, first, first, "")}); !errors.Is(err, syscall.EMSGSIZE) {
			t.Errorf("%s, and then the other family: %v", p.name, err)
		}
		if n := c.Counters(); n.TooLong != uint64(2*i+2) || n.Sent != uint64(3*i+3) {
			t.Errorf("%s: %+v", p.name, n)
		}
	}
}

// TestPathMTU: the routers' word about the MTU comes to who sends the segments.
func TestPathMTU(t *testing.T) {
	w := newWorld(t)
	w.there.shell("ip link add narrow mtu 1280 type veth peer name far", "ip link set far up", "ip link set narrow up",
		"until ip link show narrow | grep -q 'state UP'; do sleep 0.02; done",
		"ip route add 203.0.113.0/24 dev narrow", "ip route add 2001:db8:9::/64 dev narrow",
		"sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
	for i, target := range []string{"203.0.113.1", "2001:db8:9::1"} {
		p := pairs[i]
		errs := make(chan wire.ICMP, 16)
		c := w.open(w.config(func(pkts [][]byte) {
			for _, pkt := range pkts {
				if m, err := wire.ParseICMP(pkt); err == nil {
					errs <- m
				}
			}
		}))
		s := wire.Segment{Source: port(p.here, first+5), Target: port(netipMust(target), 80), Seq: 12345, Flags: wire.ACK, Payload: make([]byte, 1300)}
		if err := c.Send([][]byte{s.Append(nil)}); err != nil {
			t.Fatal(err)
		}
		if m := receive(t, errs); m.Kind != wire.TooBig || m.MTU != 1280 || m.Source != s.Source || m.Target != s.Target || m.Seq != s.Seq {
			t.Errorf("%s: %+v", p.name, m)
		}
		c.Close()
	}
}

// TestDown: a link that goes down and comes back carries again.
func TestDown(t *testing.T) {
	w := newWorld(t)
	p := pairs[0]
	got := make(chan int, 1000)
	there := w.openThere(func(pkts [][]byte) { got <- len(pkts) })
	back := make(chan int, 1000)
	c := w.open(w.config(func(pkts [][]byte) { back <- len(pkts) }))
	w.here.shell("ip link set wlan0 down")
	ours, theirs := [][]byte{segment(p.here, p.there, first, first, "")}, [][]byte{segment(p.there, p.here, first, first, "")}
	if err := c.Send(ours); err == nil {
		t.Error("sent over a link that is down")
	}
	if n := c.Counters(); n.Unsent != 1 {
		t.Errorf("%+v", n)
	}
	w.here.shell("ip link set wlan0 up", "until ip link show wlan0 | grep -q 'state UP'; do sleep 0.02; done")
	if err := c.Send(ours); err != nil {
		t.Error(err)
	}
	receive(t, got)
	if err := there.Send(theirs); err != nil {
		t.Error(err)
	}
	receive(t, back)
}

// TestKill: whatever a carrier holds is gone with its process, and nothing else was changed. Then the kernel answers for the ports.
func TestKill(t *testing.T) {
	const variable = "TANDEM_NATIVE_KILLED"
	if os.Getenv(variable) != "" {
		w := &world{t: t}
		c, err := Open(w.config(func([][]byte) {}))
		if err != nil {
			t.Fatal(err)
		}
		c.Send([][]byte{segment(pairs[0].here, pairs[0].there, first, first, "")})
		fmt.Println("open")
		select {}
	}
	w := newWorld(t)
	h := newHand(t, port(pairs[0].here, first), port(pairs[0].there, 80))
	tap := w.tap()
	before := w.here.dump()
	child := w.here.command(os.Args[0], "-test.run", "^TestKill$")
	child.Env = append(os.Environ(), variable+"=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "open\n" {
		t.Errorf("the child says %q, %v", line, err)
	}
	during := w.here.dump()
	child.Process.Kill()
	child.Wait()
	if after := w.here.dump(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if got := strings.Count(during, "LISTEN"); got != last-first+1 {
		t.Errorf("%d ports were held", got)
	}
	w.knock(h)
	tap.want(h.local)
}

// TestOthers: what the network shows to who watches it, and is for another machine, does not come in.
func TestOthers(t *testing.T) {
	w := newWorld(t)
	p := pairs[0]
	w.here.shell("ip link set wlan0 promisc on")
	w.there.shell("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:00:99 nud permanent dev eth0")
	got := make(chan string, 16)
	w.open(w.config(func(pkts [][]byte) {
		for _, pkt := range pkts {
			got <- string(pkt[header4+headerTCP:])
		}
	}))
	there := w.openThere(func([][]byte) {})
	if err := there.Send([][]byte{segment(p.there, p.here, first, first, "for another")}); err != nil {
		t.Fatal(err)
	}
	w.there.shell("ip neigh delete 192.0.2.2 dev eth0")
	if err := there.Send([][]byte{segment(p.there, p.here, first, first, "for us")}); err != nil {
		t.Fatal(err)
	}
	if text := receive(t, got); text != "for us" {
		t.Errorf("received %q", text)
	}
}

// TestOverrun: what comes while nobody takes it is dropped at a bound and counted.
func TestOverrun(t *testing.T) {
	w := newWorld(t)
	p := pairs[0]
	held := make(chan struct{})
	c := w.open(w.config(func([][]byte) { <-held }))
	there := w.openThere(func([][]byte) {})
	var pkts [][]byte
	for range 100 {
		pkts = append(pkts, segment(p.there, p.here, first, first, strings.Repeat("x", 1400)))
	}
	for range 1000 {
		if err := there.Send(pkts); err != nil {
			t.Fatal(err)
		}
		if c.Counters().Overrun > 0 {
			break
		}
	}
	if n := c.Counters(); n.Overrun == 0 {
		t.Errorf("%+v, and of the other %+v", n, there.Counters())
	}
	close(held)
}

// TestNoRoom: what the link does not take as fast as it comes is dropped at a bound and counted.
func TestNoRoom(t *testing.T) {
	w := newWorld(t)
	p := pairs[0]
	if out, err := w.here.command("tc", "qdisc", "add", "dev", "wlan0", "root", "handle", "1:", "htb", "default", "1").CombinedOutput(); err != nil {
		t.Skipf("tc: %v: %s", err, out)
	}
	w.here.shell("tc class add dev wlan0 parent 1: classid 1:1 htb rate 8kbit", "tc qdisc add dev wlan0 parent 1:1 pfifo limit 100000")
	c := w.open(w.config(func([][]byte) {}))
	var pkts [][]byte
	for range 100 {
		pkts = append(pkts, segment(p.here, p.there, first, first, strings.Repeat("x", 1400)))
	}
	for range 100 {
		if err := c.Send(pkts); err != nil {
			t.Fatal(err)
		}
		if c.Counters().NoRoom > 0 {
			break
		}
	}
	if n := c.Counters(); n.NoRoom == 0 || n.Sent*1400 > 2*sendRoom {
		t.Errorf("%+v", n)
	}
}
