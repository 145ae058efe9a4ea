package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"tandem/engine/clock"
	"tandem/engine/sim"
	"tandem/tunnel/carrier/carriertest"
)

// batchMax is how many packets are read at once.
const batchMax = 64

// side is an end of every link; it is the last part of that end's addresses.
type side int

const (
	near side = 1
	far  side = 2
)

// address returns the address of a side on a link.
func address(link int, s side, ipv6 bool) netip.Addr {
	if ipv6 {
		return netip.MustParseAddr(fmt.Sprintf("fd77:0:0:%d::%d", link, s))
	}
	return netip.AddrFrom4([4]byte{10, 77, byte(link), byte(s)})
}

// A duct is an emulated link, both ways. Its far end is a TUN device, its near end whatever takes packets.
type duct struct {
	up, down *carriertest.Way // near to far, far to near
	tuns     []*tun
}

// newDuct joins a TUN device to deliver over two ways under those conditions. The capture sees what
// crosses the device.
func newDuct(c sim.Conditions, now func() clock.Time, dev *tun, seen *capture, deliver func([][]byte)) *duct {
	d := &duct{tuns: []*tun{dev}}
	d.up = carriertest.NewWay(c, now, nap, func(pkts [][]byte) {
		seen.record(pkts)
		dev.write(pkts)
	})
	d.down = carriertest.NewWay(c, now, nap, deliver)
	go drain(dev, func(pkts [][]byte) {
		seen.record(pkts)
		d.down.Put(pkts)
	})
	return d
}

// newDuctBetween joins two TUN devices.
func newDuctBetween(c sim.Conditions, now func() clock.Time, nearDev, farDev *tun, seen *capture) *duct {
	d := newDuct(c, now, farDev, seen, nearDev.write)
	d.tuns = append(d.tuns, nearDev)
	go drain(nearDev, d.up.Put)
	return d
}

// drain passes on what is read from a device until it is closed.
func drain(dev *tun, put func([][]byte)) {
	bufs := make([][]byte, batchMax)
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
	}
	for {
		n, err := dev.read(bufs)
		if err != nil {
			return
		}
		put(bufs[:n])
	}
}

// silence makes the link lose everything, both ways, or stop doing so.
func (d *duct) silence(on bool) {
	d.up.Change(func(c *sim.Conditions) { c.Down = on })
	d.down.Change(func(c *sim.Conditions) { c.Down = on })
}

// change gives the link other delays: to the far end, and from it if that is told too.
func (d *duct) change(up time.Duration, down ...time.Duration) {
	d.up.Change(func(c *sim.Conditions) { c.Delay = up })
	d.down.Change(func(c *sim.Conditions) { c.Delay = append(down, up)[0] })
}

// forwarded returns the octets that each of two links has carried, up and down.
func forwarded(links []*duct) (octets [2]int64) {
	for i, d := range links[:2] {
		octets[i] = d.up.Counts().Forwarded.Octets + d.down.Counts().Forwarded.Octets
	}
	return octets
}

func (d *duct) close() {
	d.up.Close()
	d.down.Close()
	for _, t := range d.tuns {
		t.close()
	}
}

// wayOf is one direction of a link as the engine's path.
type wayOf struct {
	way  *carriertest.Way
	sent func(pkts [][]byte) [][]byte // returns what is put on the way; nil: all
}

func (w wayOf) Send(pkts [][]byte) error {
	if w.sent != nil {
		pkts = w.sent(pkts)
	}
	w.way.Put(pkts)
	return nil
}

// plug makes a TUN device and moves it into a namespace as that side of a link, ready to use.
func plug(s *space, link int, at side, mtu int) (*tun, error) {
	passing := fmt.Sprintf("tandem%d", os.Getpid())
	dev, err := openTun(passing)
	if err != nil {
		return nil, err
	}
	name := device(link)
	if err := run("ip", "link", "set", passing, "netns", s.name, "name", name); err != nil {
		dev.close()
		return nil, err
	}
	v4, v6 := address(link, at, false), address(link, at, true)
	err = errors.Join(
		s.ip(
			fmt.Sprintf("link set %s addrgenmode none", name),
			fmt.Sprintf("link set %s mtu %d txqueuelen 2000 up", name, mtu),
			fmt.Sprintf("addr add %s/24 dev %s", v4, name)),
		s.ip6(fmt.Sprintf("addr add %s/64 dev %s nodad", v6, name)),
	)
	// What goes from or to an address of the second link takes the second link, in both directions.
	if link > 0 && err == nil {
		table := 100 + link
		route := fmt.Sprintf("route add default dev %s table %d", name, table)
		err = errors.Join(
			s.ip(route, fmt.Sprintf("rule add from %s lookup %d", v4, table)),
			s.ip6(route, fmt.Sprintf("rule add from %s lookup %d", v6, table)))
	}
	if err != nil {
		dev.close()
		return nil, err
	}
	return dev, nil
}

func device(link int) string { return fmt.Sprintf("link%d", link) }
