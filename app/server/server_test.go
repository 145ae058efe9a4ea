package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.zx2c4.com/wireguard/conn"

	"tandem/app/apptest"
	"tandem/app/invite"
	"tandem/engine"
	"tandem/engine/wire"
	"tandem/tunnel/carrier"
	"tandem/tunnel/carrier/carriertest"
)

func TestDeviceJoinsAndIsRelayed(t *testing.T) {
	w := newWorld(t, 2).start()
	d := w.join(w.invite(InviteOptions{}), "laptop", 0, 1)
	want := invite.Answer{Name: "laptop", Device: 1, Hub: d.answer.Hub, Endpoints: w.config.Endpoints}
	if !reflect.DeepEqual(d.answer, want) || d.answer.Hub == "" {
		t.Errorf("the hub said %+v", d.answer)
	}
	c, err := d.dial(somewhere)
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, c, "hello")
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() {
		c.Write(sent)
		c.CloseWrite()
	}()
	c.SetDeadline(time.Now().Add(patience))
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("of %d octets %d came back, %v", len(sent), len(got), err)
	}
	apptest.Until(t, "the device is listed with what it did", func() bool {
		l, err := w.server.Devices()
		if err != nil || len(l.Devices) != 1 {
			t.Fatalf("%+v, %v", l, err)
		}
		info := l.Devices[0]
		return info.Online && len(info.Links) == 2 && info.Links[1].Active && info.Seen != nil &&
			info.Received > 1<<20 && info.Sent > 1<<20 && info.Connections == 0
	})
	if n := w.server.budget.used; n != 0 {
		t.Errorf("%d files are counted as open", n)
	}
}

// The same through sockets of the system.
func TestDeviceComesThroughSockets(t *testing.T) {
	w := newWorld(t, 0)
	w.config.Bind, w.config.Listen = nil, netip.MustParseAddrPort("127.0.0.1:0")
	w.bind = func(int) conn.Bind { return carrier.UDP(carrier.UDPConfig{}) }
	w.endpoint = func() netip.AddrPort { return netip.AddrPortFrom(w.config.Listen.Addr(), w.server.Port()) }
	w.start()
	d := w.join(w.invite(InviteOptions{}), "laptop", 0, 1)
	c, err := d.dial(somewhere)
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, c, "hello")
	apptest.Until(t, "both links are known", func() bool { return w.active() == 2 })
}

func TestCodeIsForOneDevice(t *testing.T) {
	w := newWorld(t, 1).start()
	code := w.invite(InviteOptions{Name: "laptop"})
	d, thief := w.laptop(code.Hub), w.laptop(code.Hub)
	first, err := d.ask(code, 0, "what it says")
	if err != nil || first.Name != "laptop" {
		t.Fatalf("%+v, %v", first, err)
	}
	if again, err := d.ask(code, 0, "what it says"); err != nil || !reflect.DeepEqual(again, first) {
		t.Errorf("again: %+v, %v", again, err)
	}
	var no invite.Refusal
	if _, err := thief.ask(code, 0, "thief"); !errors.As(err, &no) || string(no) != refusedUsed {
		t.Errorf("with other keys: %v", err)
	}
	if l, _ := w.server.Devices(); len(l.Devices) != 1 || l.Devices[0].Foreign != 1 {
		t.Errorf("listed as %+v", l)
	}
}

func TestCodeReachesOnlyTheEnrolment(t *testing.T) {
	w := newWorld(t, 1).start()
	code := w.invite(InviteOptions{})
	d := w.laptop(code.Hub)
	v4, v6 := invite.InviteAddrs(code.Hub, code.Number)
	d.bond = d.engine.Bond(d.bondConfig())
	c := d.attach(d.bond, 0, 0, code.Key, v4, v6)
	defer c.Close()
	for _, target := range []string{somewhere, netip.AddrPortFrom(w.server.inner4, invite.DNSPort).String(), "127.0.0.1:22"} {
		if _, err := d.dial(target); !errors.Is(err, engine.ErrRefused) {
			t.Errorf("%s: %v", target, err)
		}
	}
	began := time.Now()
	const more = deskBurst + deskRate
	for range more {
		d.dial(somewhere)
	}
	if took, least := time.Since(began), (more-deskBurst)*time.Second/deskRate; took < least*9/10 {
		t.Errorf("%d more took %v", more, took)
	}
}

func TestExpiredCodeMeetsSilence(t *testing.T) {
	w := newWorld(t, 1).start()
	code := w.invite(InviteOptions{Expires: time.Minute})
	if err := w.server.sweep(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n := w.server.hub.Peers(); n != 0 {
		t.Errorf("the hub knows %d peers", n)
	}
	up, _ := w.network.Counts(0)
	d := w.laptop(code.Hub)
	v4, v6 := invite.InviteAddrs(code.Hub, code.Number)
	d.bond = d.engine.Bond(d.bondConfig())
	c := d.attach(d.bond, 0, 0, code.Key, v4, v6)
	defer c.Close()
	c.Renew()
	apptest.Until(t, "the handshake is on its way", func() bool {
		now, _ := w.network.Counts(0)
		return now.Forwarded.Packets > up.Forwarded.Packets
	})
	if _, down := w.network.Counts(0); down.Forwarded.Packets != 0 {
		t.Errorf("the hub answered %d packets", down.Forwarded.Packets)
	}
}

func TestInvitesThroughTheServer(t *testing.T) {
	w := newWorld(t, 1).start()
	for range invite.InvitesMax {
		w.invite(InviteOptions{})
	}
	if _, err := w.server.Invite(InviteOptions{}); err == nil {
		t.Error("one more was made")
	}
	if n := w.server.hub.Peers(); n != invite.InvitesMax {
		t.Errorf("the hub knows %d peers", n)
	}
}

func TestRevokeTakesEffectAtOnce(t *testing.T) {
	w := newWorld(t, 2).start()
	d := w.join(w.invite(InviteOptions{}), "laptop", 0)
	other := w.join(w.invite(InviteOptions{}), "desk", 1)
	c, err := d.dial(somewhere)
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, c, "hello")
	kept, err := other.dial(somewhere)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.server.Revoke("laptop"); err != nil {
		t.Fatal(err)
	}
	if l, _ := w.server.Devices(); l.Devices[0].Connections != 0 || l.Devices[1].Connections != 1 {
		t.Errorf("listed as %+v", l.Devices)
	}
	select {
	case <-c.Done():
	case <-time.After(patience):
		t.Fatal("the connection lives on")
	}
	d.hears(engine.ByeHeard, func(e engine.Event) bool { return e.Bye == engine.ByeRevoked })
	echoes(t, kept, "still here")

	// The device begins anew, as when it is switched on again, also after the hub was. It hears that it is not
	// welcome after the HELLO.
	for range 2 {
		d.off()
		d.engine = engine.New(engine.Config{})
		d.on(0)
		d.hears(engine.HelloHeard, nil)
		d.hears(engine.ByeHeard, func(e engine.Event) bool { return e.Bye == engine.ByeRevoked })
		if _, err := d.dial(somewhere); err == nil {
			t.Error("it is relayed")
		}
		w.stop()
		w.start()
	}
	if l, _ := w.server.Devices(); l.Devices[0].Revoked == nil || l.Devices[0].Online {
		t.Errorf("listed as %+v", l.Devices[0])
	}
}

func TestReplacedDeviceIsTold(t *testing.T) {
	w := newWorld(t, 2).start()
	old := w.join(w.invite(InviteOptions{Name: "laptop"}), "", 0)
	if _, err := old.dial(somewhere); err != nil {
		t.Fatal(err)
	}
	d := w.join(w.invite(InviteOptions{Name: "laptop", Replace: true}), "", 1)
	old.hears(engine.ByeHeard, func(e engine.Event) bool { return e.Bye == engine.ByeRevoked })
	c, err := d.dial(somewhere)
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, c, "hello")
}

// The hub stops and starts: its devices hear both, and are back without having asked.
func TestRestartBringsPathsBack(t *testing.T) {
	w := newWorld(t, 2).start()
	d := w.join(w.invite(InviteOptions{}), "laptop", 0, 1)
	c, err := d.dial(somewhere)
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, c, "hello")
	d.hears(engine.HelloHeard, nil)
	apptest.Until(t, "both links are known", func() bool { return w.active() == 2 })
	w.stop()
	d.hears(engine.ByeHeard, func(e engine.Event) bool { return e.Bye == engine.ByeShutdown })
	select {
	case <-c.Done():
	case <-time.After(patience):
		t.Error("the connection was not reset")
	}
	w.start()
	d.hears(engine.HelloHeard, func(e engine.Event) bool { return e.Changed })
	c, err = d.dial(somewhere)
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, c, "hello again")
	apptest.Until(t, "both links are back", func() bool { return w.active() == 2 })
}

// A hub that was killed is followed by one that makes do with the store as it was then.
func TestKilledHubIsSucceeded(t *testing.T) {
	w := newWorld(t, 1).start()
	d := w.join(w.invite(InviteOptions{}), "laptop", 0)
	if c, err := d.dial(somewhere); err != nil {
		t.Fatal(err)
	} else {
		echoes(t, c, "hello")
	}
	apptest.Until(t, "the endpoint is known", func() bool {
		l, err := w.server.Devices()
		return err == nil && len(l.Devices[0].Links) == 1
	})
	if err := w.server.registry.flush(); err != nil {
		t.Fatal(err)
	}
	octets, err := os.ReadFile(filepath.Join(w.state, StoreName))
	if err != nil {
		t.Fatal(err)
	}
	w.network.Change(0, func(_, down *carriertest.Conditions) { down.Down = true }) // nobody hears its end
	w.stop()
	w.network.Change(0, func(_, down *carriertest.Conditions) { down.Down = false })
	if err := os.WriteFile(filepath.Join(w.state, StoreName), octets, 0o600); err != nil {
		t.Fatal(err)
	}
	w.start()
	d.hears(engine.HelloHeard, func(e engine.Event) bool { return e.Changed })
	c, err := d.dial(somewhere)
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, c, "hello again")
}

func TestDeviceMoves(t *testing.T) {
	w := newWorld(t, 1).start()
	d := w.join(w.invite(InviteOptions{}), "laptop", 0)
	c, err := d.dial(somewhere)
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, c, "hello")
	w.network.Move(0)
	echoes(t, c, "from elsewhere")
	apptest.Until(t, "the new endpoint is known", func() bool {
		l, _ := w.server.Devices()
		return len(l.Devices[0].Links) == 1 && strings.HasPrefix(l.Devices[0].Links[0].Endpoint, "10.0.0.2:")
	})
}

func TestDeviceThatIsSilentHasNoSession(t *testing.T) {
	w := newWorld(t, 1).start()
	d := w.join(w.invite(InviteOptions{}), "laptop", 0)
	c, err := d.dial(somewhere)
	if err != nil {
		t.Fatal(err)
	}
	has := func() bool {
		x := w.server.device(1)
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.session != nil
	}
	w.server.survey(time.Now())
	if !has() {
		t.Fatal("no session while it is heard")
	}
	echoes(t, c, "there")
	d.unplug()
	later := time.Now()
	for range 3 {
		later = later.Add(silentAfter + time.Minute)
		w.server.survey(later)
	}
	if !has() {
		t.Fatal("no session while a connection outlives its paths")
	}
	d.plug(0)
	echoes(t, c, "still there")
	c.Close()
	apptest.Until(t, "the connection ends", func() bool { return w.server.device(1).connections() == 0 })
	d.off()
	apptest.Until(t, "a long silence ends the session", func() bool {
		later = later.Add(silentAfter + time.Minute)
		w.server.survey(later)
		return !has()
	})
	d.engine = engine.New(engine.Config{})
	d.on(0)
	if c, err := d.dial(somewhere); err != nil {
		t.Error(err)
	} else {
		echoes(t, c, "back again")
	}
}

func TestDeviceAsksTheResolver(t *testing.T) {
	u := newUpstream(t, map[string][]string{"a.test.": {"A 93.184.216.34", "A 10.0.0.1"}}, dns.RcodeSuccess)
	w := newWorld(t, 1)
	w.config.Upstreams = []string{u.at}
	w.start()
	d := w.join(w.invite(InviteOptions{}), "laptop", 0)
	q := question(t, "a.test.", dns.TypeA, nil)

	for _, hub := range []netip.Addr{w.server.inner4, w.server.inner6} {
		c, err := d.dial(netip.AddrPortFrom(hub, invite.DNSPort).String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(patience))
		c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...))
		c.CloseWrite()
		a, err := io.ReadAll(c)
		if err != nil || len(a) < 2 {
			t.Fatalf("%v: %d octets, %v", hub, len(a), err)
		}
		if _, texts := answerTexts(t, a[2:]); len(texts) != 1 {
			t.Errorf("%v: %q", hub, texts)
		}

		host := netip.AddrPortFrom(d.host4, 5353)
		if hub.Is6() {
			host = netip.AddrPortFrom(d.host6, 5353)
		}
		ask := wire.Datagram{Source: host, Target: netip.AddrPortFrom(hub, invite.DNSPort), Payload: q}
		d.bond.SendPackets([][]byte{ask.Append(nil)})
		select {
		case b := <-d.packets:
			var answer wire.Datagram
			if err := answer.Parse(b); err != nil || answer.Source != ask.Target || answer.Target != ask.Source {
				t.Fatalf("%v to %v: %v", answer.Source, answer.Target, err)
			}
			if _, texts := answerTexts(t, answer.Payload); len(texts) != 1 {
				t.Errorf("%v over UDP: %q", hub, texts)
			}
		case <-time.After(patience):
			t.Fatalf("%v: no answer over UDP", hub)
		}
	}
}

func TestHubThatCannotBegin(t *testing.T) {
	w := newWorld(t, 1).start()
	second := w.config
	if _, err := New(second); !errors.Is(err, errLocked) {
		t.Errorf("on the same store: %v", err)
	}
	taken := Config{State: t.TempDir() + "/hub", Listen: netip.MustParseAddrPort("127.0.0.1:0")}
	first, err := New(taken)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	taken.State, taken.Listen = t.TempDir()+"/hub", netip.AddrPortFrom(taken.Listen.Addr(), first.Port())
	if _, err := New(taken); err == nil || !strings.Contains(err.Error(), "taken") {
		t.Errorf("on the same port: %v", err)
	}
	for what, cfg := range map[string]Config{
		"endpoint":        {Endpoints: []string{"nowhere"}},
		"metrics":         {Metrics: "0.0.0.0:9100"},
		"not this host's": {Listen: netip.MustParseAddrPort("192.0.2.77:8684")},
	} {
		cfg.State = t.TempDir() + "/hub"
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: it began", what)
		}
	}
}

func TestOwnerCommands(t *testing.T) {
	w := newWorld(t, 1).start()
	var owner Owner
	apptest.Until(t, "commands are taken", func() bool { // the socket's file is there before
		var err error
		owner, err = Open(w.state)
		return err == nil
	})
	defer owner.Close()
	code, err := owner.Invite(InviteOptions{Name: "laptop", Expires: time.Minute, AllowLAN: true})
	if err != nil || !owner.Running() {
		t.Fatal(err)
	}
	if again, err := invite.Parse(code.String()); err != nil || !reflect.DeepEqual(again, code) {
		t.Errorf("%+v, %v", again, err)
	}
	d := w.join(code, "", 0)
	if _, err := d.dial(somewhere); err != nil {
		t.Fatal(err)
	}
	if l, err := owner.Devices(); err != nil || len(l.Devices) != 1 || !l.Devices[0].AllowLAN || len(l.Invites) != 1 {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err := owner.Invite(InviteOptions{Name: "laptop"}); err == nil || !strings.Contains(err.Error(), "--replace") {
		t.Errorf("a name that is taken: %v", err)
	}
	if err := owner.Revoke("nobody"); err == nil {
		t.Error("nobody was revoked")
	}
	if err := owner.Revoke("laptop"); err != nil {
		t.Error(err)
	}
	w.stop()
	closed, err := Open(w.state)
	if err != nil {
		t.Fatal(err)
	}
	defer closed.Close()
	if _, err := closed.Invite(InviteOptions{}); err != nil || closed.Running() {
		t.Errorf("while the hub is down: %v", err)
	}
	if l, _ := closed.Devices(); len(l.Devices) != 1 || l.Devices[0].Revoked == nil || len(l.Invites) != 2 {
		t.Errorf("%+v", l)
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no hub") {
		t.Errorf("where no hub is: %v", err)
	}
}
