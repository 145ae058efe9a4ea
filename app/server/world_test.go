package server

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"tandem/app/apptest"
	"tandem/app/invite"
	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/tunnel/carrier"
	"tandem/tunnel/carrier/carriertest"
)

const (
	patience = apptest.Soon

	// handshakePause is how long after a handshake WireGuard takes the next one of the same key: it has no event for it.
	handshakePause = 50 * time.Millisecond
)

// A world is a hub, links to it, and the Internet behind it: a host that echoes whatever it is sent.
type world struct {
	t       *testing.T
	network *carriertest.Network
	state   string
	config  Config
	server  *Server
	stop    func() // ends the hub in good order
	port    uint16 // the last that a device enrolled from

	asked map[carrier.Key]time.Time // when a device was answered that enrolled with that key

	bind     func(link int) conn.Bind // of a device
	endpoint func() netip.AddrPort    // of the hub
}

func newWorld(t *testing.T, links int) *world {
	w := &world{
		t: t, network: carriertest.New(make([]carriertest.Link, links)...), state: t.TempDir() + "/hub", port: 40000,
		asked: map[carrier.Key]time.Time{},
	}
	t.Cleanup(w.network.Close)
	w.bind, w.endpoint = w.network.Client, w.network.Endpoint
	w.config = Config{
		State: w.state, Endpoints: []string{w.network.Endpoint().String()}, Bind: w.network.Hub(),
		Dialer: apptest.Echo(t), Log: apptest.Log(t),
	}
	return w
}

// start runs the hub.
func (w *world) start() *world {
	w.t.Helper()
	s, err := New(w.config)
	if err != nil {
		w.t.Fatal(err)
	}
	w.server = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the hub ended with: %v", err)
		}
	})
	w.t.Cleanup(w.stop)
	return w
}

func (w *world) invite(o InviteOptions) invite.Code {
	w.t.Helper()
	c, err := w.server.Invite(o)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// active returns how many links the first device uses, of those whose endpoints are known.
func (w *world) active() (n int) {
	w.t.Helper()
	l, err := w.server.Devices()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, k := range l.Devices[0].Links {
		if k.Active {
			n++
		}
	}
	return n
}

// A logged is a log to be read.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A laptop is the least that a device is: keys, a carrier per link, and a bond over them.
type laptop struct {
	w        *world
	keys     [invite.Slots]carrier.Key // private
	answer   invite.Answer
	hub      carrier.Key
	engine   *engine.Engine
	bond     *engine.Bond
	carriers []*carrier.Carrier
	ears
}

func (w *world) laptop(hub carrier.Key) *laptop {
	d := &laptop{w: w, hub: hub, engine: engine.New(engine.Config{}), ears: newEars(hub)}
	for i := range d.keys {
		d.keys[i] = carrier.NewKey()
	}
	w.t.Cleanup(d.off)
	return d
}

// attach opens a carrier over a link and has a bond use it.
func (d *laptop) attach(b *engine.Bond, link, number int, key carrier.Key, v4, v6 netip.Addr) *carrier.Carrier {
	d.w.t.Helper()
	hub4, hub6 := invite.HubAddrs(d.hub)
	var a *engine.Attachment
	ready := make(chan struct{})
	c, err := carrier.Open(carrier.Config{
		Private: key, Peer: d.hub, Endpoint: d.w.endpoint(), Bind: d.w.bind(link), MTU: mtuOver4,
		Receive: func(pkts [][]byte) { <-ready; a.Deliver(pkts) },
	})
	if err != nil {
		d.w.t.Fatal(err)
	}
	a = b.AttachAs(engine.PathID(number), c, engine.PathConfig{Local4: v4, Local6: v6, Peer4: hub4, Peer6: hub6, MTU: mtuOver4})
	close(ready)
	return c
}

// ask enrols over a link with a code, and returns what the hub says.
func (d *laptop) ask(code invite.Code, link int, name string) (invite.Answer, error) {
	d.w.t.Helper()
	time.Sleep(time.Until(d.w.asked[code.Key].Add(handshakePause)))
	defer func() { d.w.asked[code.Key] = time.Now() }()
	b := d.engine.Bond(engine.BondConfig{Config: mptcp.Config{Paired: true}})
	defer b.Close()
	v4, v6 := invite.InviteAddrs(code.Hub, code.Number)
	c := d.attach(b, link, 0, code.Key, v4, v6)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	hub4, _ := invite.HubAddrs(code.Hub)
	// Another port than that of an offer which the hub may have answered just now.
	d.w.port++
	asking, err := b.Open(netip.AddrPortFrom(hub4, invite.EnrolPort), engine.DialOptions{
		DialOptions: mptcp.DialOptions{Source: d.w.port},
	})
	if err != nil {
		return invite.Answer{}, err
	}
	defer asking.Close()
	if err := asking.Established(ctx); err != nil {
		return invite.Answer{}, err
	}
	asking.SetDeadline(time.Now().Add(patience))
	q := invite.Request{Version: invite.Version, Name: name}
	for i, k := range d.keys {
		q.Keys[i] = k.Public()
	}
	return invite.Ask(asking, q)
}

// join has a new device join, and use the links.
func (w *world) join(code invite.Code, name string, links ...int) *laptop {
	w.t.Helper()
	d := w.laptop(code.Hub)
	a, err := d.ask(code, links[0], name)
	if err != nil {
		w.t.Fatal(err)
	}
	d.answer = a
	d.on(links...)
	return d
}

// on has the device use the links, a slot for each.
func (d *laptop) on(links ...int) {
	d.w.t.Helper()
	d.bond = d.engine.Bond(d.bondConfig())
	d.plug(links...)
}

// plug gives the bond its links.
func (d *laptop) plug(links ...int) {
	d.w.t.Helper()
	for slot, link := range links {
		v4, v6 := invite.SlotAddrs(d.hub, d.answer.Device, slot)
		d.carriers = append(d.carriers, d.attach(d.bond, link, slot, d.keys[slot], v4, v6))
	}
}

// off ends whatever the device does.
func (d *laptop) off() {
	d.engine.Close()
	d.unplug()
}

// unplug takes all links, of which the bond is not told.
func (d *laptop) unplug() {
	for _, c := range d.carriers {
		c.Close()
	}
	d.carriers = nil
}

func (d *laptop) dial(target string) (*engine.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return d.bond.Dial(ctx, netip.MustParseAddrPort(target))
}

// somewhere is an address in the Internet, as far as the rules know.
const somewhere = "93.184.216.34:80"

// echoes says something to an echo and makes sure that it comes back.
func echoes(t *testing.T, c net.Conn, what string) {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	defer c.SetDeadline(time.Time{})
	if _, err := io.WriteString(c, what); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(what))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != what {
		t.Fatalf("%q came back as %q, %v", what, got, err)
	}
}
