package client

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"tandem/app/apptest"
	"tandem/app/config"
	"tandem/app/control"
	"tandem/app/server"
	"tandem/platform"
	"tandem/platform/platformtest"
	"tandem/tunnel/carrier/carriertest"
	"tandem/tunnel/relay"
)

const soon = apptest.Soon

// A world is a hub, a device, and links between them. Behind the hub a host echoes whatever it is sent.
type world struct {
	t       *testing.T
	network *carriertest.Network
	hub     server.Config
	server  *server.Server
	stopHub func()
	host    *platformtest.Host
	links   []platform.Link
	state   config.Folder
	client  *Client
	stop    func() error
}

var names = []string{"wlan0", "wwan0"}

func newWorld(t *testing.T) *world {
	up := carriertest.Conditions{Rate: 50e6 / 8, Delay: 5 * time.Millisecond, QueueBytes: 300e3}
	l := carriertest.Link{Up: up, Down: up}
	w := &world{t: t, network: carriertest.New(l, l), state: config.Folder(filepath.Join(t.TempDir(), "state"))}
	t.Cleanup(w.network.Close)
	for i, name := range names {
		w.links = append(w.links, platform.Link{
			Name: name, Kind: "wifi", ID: "id-" + name, Index: i + 2, MTU: 1500, Usable: true,
			Addrs:    []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 2}), 24)},
			Gateway4: netip.AddrFrom4([4]byte{10, 0, byte(i), 1}),
		})
	}
	w.host = platformtest.New(w.links...)
	w.hub = server.Config{
		State: filepath.Join(t.TempDir(), "hub"), Endpoints: []string{w.network.Endpoint().String()}, Bind: w.network.Hub(),
		Dialer: apptest.Echo(t), Log: w.log("hub"),
	}
	return w
}

// newConnected is a world whose device has joined the hub and is connected over both links.
func newConnected(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.startHub()
	w.join()
	w.start(w.config())
	w.connected("wlan0", "wwan0")
	return w
}

func (w *world) log(who string) *slog.Logger {
	return apptest.Log(w.t).With("who", who)
}

func (w *world) startHub() {
	w.t.Helper()
	s, err := server.New(w.hub)
	if err != nil {
		w.t.Fatal(err)
	}
	w.server = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	w.stopHub = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("the hub ended with: %v", err)
		}
	})
	w.t.Cleanup(w.stopHub)
}

func (w *world) config() Config {
	return Config{State: w.state, Host: w.host, Bind: w.bind, Log: w.log("device")}
}

func (w *world) bind(link string) conn.Bind {
	for i, name := range names {
		if name == link {
			return w.network.Client(i)
		}
	}
	return nil
}

// join enrols the device without a daemon.
func (w *world) join() control.Joined {
	w.t.Helper()
	c, err := New(w.config())
	if err != nil {
		w.t.Fatal(err)
	}
	j, err := c.Join(w.ctx(), w.invite())
	if err != nil {
		w.t.Fatal(err)
	}
	return j
}

func (w *world) invite() string {
	w.t.Helper()
	code, err := w.server.Invite(server.InviteOptions{Name: "laptop"})
	if err != nil {
		w.t.Fatal(err)
	}
	return code.String()
}

// start runs the daemon.
func (w *world) start(cfg Config) {
	w.t.Helper()
	w.startWith(cfg, func(*Client) {})
}

// startWith runs it after a change.
func (w *world) startWith(cfg Config, change func(*Client)) {
	w.t.Helper()
	c, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	change(c)
	w.client = c
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	w.stop = sync.OnceValue(func() error { cancel(); return <-done })
	w.t.Cleanup(func() {
		if err := w.stop(); err != nil {
			w.t.Errorf("the daemon ended with: %v", err)
		}
	})
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	w.t.Cleanup(cancel)
	return ctx
}

// wait waits until the state is as wanted.
func (w *world) wait(what string, wanted func(control.State) bool) {
	w.t.Helper()
	if err := w.client.Wait(w.ctx(), wanted); err != nil {
		w.t.Fatalf("%s: %v; state %+v", what, err, w.client.State())
	}
}

// connected waits until those links are, and no others.
func (w *world) connected(links ...string) {
	w.t.Helper()
	w.wait("connected", func(s control.State) bool {
		on := []string{}
		for _, l := range s.Links {
			if l.State == control.LinkConnected {
				on = append(on, l.Name)
			}
		}
		return len(on) == len(links) && (len(on) == 0 || on[0] == links[0] && on[len(on)-1] == links[len(links)-1])
	})
}

// idle waits until nothing is on its way: no link is in use.
func (w *world) idle() {
	w.t.Helper()
	apptest.Until(w.t, "no link is in use", func() bool {
		used := true
		if err := w.client.do(w.ctx(), func() error { used = w.client.live.inUse(); return nil }); err != nil {
			w.t.Fatal(err)
		}
		return !used
	})
}

func (w *world) silence(link int, silent bool) {
	w.network.Change(link, func(up, down *carriertest.Conditions) { up.Down, down.Down = silent, silent })
}

// somewhere is an address in the Internet.
var somewhere = netip.MustParseAddrPort("93.184.216.34:80")

func (w *world) dial() relay.Stream {
	w.t.Helper()
	s, err := w.client.Dial(w.ctx(), somewhere)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// echoes says something to an echo and makes sure that it comes back.
func echoes(t *testing.T, c net.Conn, n int) {
	t.Helper()
	c.SetDeadline(time.Now().Add(soon))
	said := bytes.Repeat([]byte("tandem "), n/7+1)[:n]
	go c.Write(said)
	heard := make([]byte, n)
	if _, err := io.ReadFull(c, heard); err != nil || !bytes.Equal(heard, said) {
		t.Fatalf("%d octets did not come back: %v", n, err)
	}
}

func mustRead(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
