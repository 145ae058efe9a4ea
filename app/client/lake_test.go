package client

import (
	"context"
	"io"
	"net/netip"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"tandem/app/config"
	"tandem/app/control"
	"tandem/app/server"
	"tandem/platform"
	"tandem/platform/platformtest"
	"tandem/tunnel/carrier/carriertest"
	"tandem/tunnel/relay"
	"tandem/tunnel/relay/relaytest"
)

// A lake is a hub and a device that has joined it in a bubble, where time is nobody's but theirs: nothing in it waits for
// the system. Behind the hub hosts are such as their ports say.
type lake struct {
	t       *testing.T
	network *carriertest.Network
	state   config.Folder
	told    Config // what the daemon is told when it is started
	client  *Client
	stop    func()
}

// Ports of hosts, all of which hear whatever they are told.
const (
	talks   = 80 // without end
	silent  = 81
	murmurs = 82 // 5 Mbit/s
)

// hosts is an Internet of them.
type hosts struct{}

func (hosts) Dial(_ context.Context, target netip.AddrPort) (relay.Stream, error) {
	here, there := relaytest.Pipe(somewhere, target)
	go io.Copy(io.Discard, there)
	switch target.Port() {
	case talks:
		go flood(there, 0)
	case murmurs:
		go flood(there, 10*time.Millisecond)
	}
	return here, nil
}

// flood says octets until nobody takes them any more; with a pause only few at a time.
func flood(to io.Writer, pause time.Duration) {
	octets := make([]byte, 64<<10)
	if pause > 0 {
		octets = octets[:6250]
	}
	for {
		if _, err := to.Write(octets); err != nil {
			return
		}
		time.Sleep(pause)
	}
}

// onLake has play happen over two links of that many bits a second.
func onLake(t *testing.T, rate int64, play func(l *lake)) {
	synctest.Test(t, func(t *testing.T) {
		way := carriertest.Conditions{Rate: rate, Delay: 10 * time.Millisecond, QueueTime: 50 * time.Millisecond}
		link := carriertest.Link{Up: way, Down: way}
		l := &lake{t: t, network: carriertest.New(link, link), state: config.Folder(filepath.Join(t.TempDir(), "state"))}
		defer l.network.Close()
		hub, err := server.New(server.Config{
			State: filepath.Join(t.TempDir(), "hub"), Endpoints: []string{l.network.Endpoint().String()}, Bind: l.network.Hub(), Dialer: hosts{},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer hub.Close()
		code, err := hub.Invite(server.InviteOptions{Name: "laptop"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.daemon().Join(t.Context(), code.String()); err != nil {
			t.Fatal(err)
		}
		l.start()
		defer func() { l.stop() }()
		play(l)
	})
}

// daemon makes one that does not run yet.
func (l *lake) daemon() *Client {
	l.t.Helper()
	var links []platform.Link
	for i, name := range names {
		links = append(links, platform.Link{
			Name: name, Kind: "wifi", ID: "id-" + name, Index: i + 2, MTU: 1500, Usable: true,
			Addrs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 2}), 24)},
		})
	}
	bind := (&world{network: l.network}).bind
	cfg := l.told
	cfg.State, cfg.Host, cfg.Bind = l.state, platformtest.New(links...), bind
	c, err := New(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

// start runs the daemon until both links are connected.
func (l *lake) start() {
	l.t.Helper()
	l.client = l.daemon()
	ctx, cancel := context.WithCancel(l.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.client.Run(ctx) }()
	l.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			l.t.Error(err)
		}
	}
	l.wait(func(s control.State) bool {
		return len(s.Links) == 2 && s.Links[0].State == control.LinkConnected && s.Links[1].State == control.LinkConnected
	})
}

func (l *lake) wait(wanted func(control.State) bool) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), soon)
	defer cancel()
	if err := l.client.Wait(ctx, wanted); err != nil {
		l.t.Fatalf("%v; state %+v", err, l.client.State())
	}
}

// dial opens a connection to a host with that port.
func (l *lake) dial(port uint16) relay.Stream {
	l.t.Helper()
	s, err := l.client.Dial(l.t.Context(), netip.AddrPortFrom(somewhere.Addr(), port))
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

// download opens a connection to a host with that port and reads what comes.
func (l *lake) download(port uint16) relay.Stream {
	l.t.Helper()
	s := l.dial(port)
	go io.Copy(io.Discard, s)
	return s
}

// change changes a link.
func (l *lake) change(link int, c control.LinkChange) {
	l.t.Helper()
	if err := l.client.SetLink(l.t.Context(), names[link], c); err != nil {
		l.t.Fatal(err)
	}
}

// inside returns how many octets of packets inside the carrier came down a link so far, and went up. The carrier
// adds 60 to each, and rounds it up to 16.
func (l *lake) inside(link int) (down, up int) {
	u, d := l.network.Counts(link)
	octets := func(c carriertest.Counts) int {
		return int(c.Forwarded.Octets) - 60*int(c.Forwarded.Packets)
	}
	return octets(d), octets(u)
}
