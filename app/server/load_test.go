package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"tandem/app/apptest"
	"tandem/app/invite"
	"tandem/engine/wire"
	"tandem/tunnel/carrier"
	"tandem/tunnel/carrier/carriertest"
	"tandem/tunnel/packet"
	"tandem/tunnel/relay"
	"tandem/tunnel/relay/relaytest"
)

// A moodyDialer never gets an answer from port 81; elsewhere somebody answers who reads nothing.
type moodyDialer struct{}

func (moodyDialer) Dial(ctx context.Context, target netip.AddrPort) (relay.Stream, error) {
	if target.Port() == apptest.RefusedPort {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	here, _ := relaytest.Pipe(netip.AddrPort{}, target)
	return here, nil
}

// busy has a device do all that may hold up who ends it, for ever or while a question is under way: write to who does
// not read, dial who does not answer, ask a resolver that is silent.
func (d *laptop) busy(t *testing.T) {
	t.Helper()
	for range 8 {
		c, err := d.dial(somewhere)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for err := error(nil); err == nil; {
				_, err = c.Write(make([]byte, 1<<16))
			}
		}()
		go d.bond.Dial(t.Context(), netip.MustParseAddrPort("93.184.216.34:81"))
	}
	hub := netip.AddrPortFrom(d.w.server.inner4, invite.DNSPort)
	q := question(t, "a.test.", dns.TypeA, nil)
	asked := &d.w.server.resolver.asked
	before := asked.Load()
	for range 8 {
		c, err := d.dial(hub.String())
		if err != nil {
			t.Fatal(err)
		}
		c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...))
	}
	port := uint16(5000)
	apptest.Until(t, "the resolver is asked", func() bool {
		port++
		ask := wire.Datagram{Source: netip.AddrPortFrom(d.host4, port), Target: hub, Payload: q}
		d.bond.SendPackets([][]byte{ask.Append(nil)})
		return asked.Load() >= before+16
	})
	synctest.Wait()
}

// besieged has play happen to a hub with two links in a bubble: what takes time there waits for something that has not come,
// and not for the machine. While somebody waits for a lock no time passes there: that it is for ever is told outside.
func besieged(t *testing.T, play func(t *testing.T, w *world)) {
	defer time.AfterFunc(apptest.Soon, func() { panic(t.Name() + " does not end") }).Stop()
	synctest.Test(t, func(t *testing.T) {
		network := carriertest.New(make([]carriertest.Link, 2)...)
		t.Cleanup(network.Close)
		w := &world{t: t, network: network, state: t.TempDir() + "/hub", port: 40000, asked: map[carrier.Key]time.Time{}}
		w.bind, w.endpoint = network.Client, network.Endpoint
		var err error
		w.server, err = New(Config{
			State: w.state, Endpoints: []string{network.Endpoint().String()}, Bind: network.Hub(), Dialer: moodyDialer{},
			Upstreams: []string{"192.0.2.53:53"},
		})
		if err != nil {
			t.Fatal(err)
		}
		w.server.resolver.exchange = func(ctx context.Context, _ string, _ *dns.Msg, _ string) (*dns.Msg, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		play(t, w)
		w.server.Close()
	})
}

// within makes sure that nothing is waited for longer.
func within(t *testing.T, limit time.Duration, what string, do func()) {
	t.Helper()
	began := time.Now()
	do()
	if took := time.Since(began); took > limit {
		t.Errorf("%s took %v", what, took)
	}
}

func TestRevokeUnderLoad(t *testing.T) {
	besieged(t, func(t *testing.T, w *world) {
		s := w.server
		d := w.join(w.invite(InviteOptions{}), "laptop", 0, 1)
		d.busy(t)
		budgets := map[string]*budget{"connections": s.budget, "questions": s.resolver.busy}
		for what, b := range budgets {
			if b.used < 8 {
				t.Errorf("%d %s are under way", b.used, what)
			}
		}
		within(t, 0, "revoking", func() {
			if err := s.Revoke("laptop"); err != nil {
				t.Error(err)
			}
		})
		budgets["datagrams"] = s.ports
		for what, b := range budgets {
			if b.used != 0 {
				t.Errorf("%d %s are still counted", b.used, what)
			}
		}
	})
}

func TestStopUnderLoad(t *testing.T) {
	besieged(t, func(t *testing.T, w *world) {
		for link, name := range []string{"laptop", "desk"} {
			w.join(w.invite(InviteOptions{}), name, link).busy(t)
		}
		within(t, partingTime, "stopping", func() {
			if err := w.server.Close(); err != nil {
				t.Error(err)
			}
		})
	})
}

// What the owner reads of a hub tells nothing with which a device, or the hub, could be impersonated.
func TestLogHoldsNoSecrets(t *testing.T) {
	w := newWorld(t, 1)
	var text logged
	w.config.Log = text.logger()
	w.start()
	code := w.invite(InviteOptions{})
	d := w.join(code, "laptop\nlevel=ERROR", 0)
	if _, err := d.dial(somewhere); err != nil {
		t.Fatal(err)
	}
	w.server.Revoke("laptoplevelERROR")
	w.stop()
	all := text.String()
	secrets := []string{code.String(), code.Key.String(), w.server.registry.hub.Key.String()}
	for _, k := range d.keys {
		secrets = append(secrets, k.String())
	}
	for i, secret := range secrets {
		if strings.Contains(all, secret) || strings.Contains(all, secret[:16]) && i > 0 {
			t.Errorf("secret %d is in the log", i)
		}
	}
	if !strings.Contains(all, "device joined") || strings.Contains(all, "\nlevel=ERROR") {
		t.Errorf("logged:\n%s", all)
	}
}

// Whatever happens at once, the hub ends as it began: nothing is counted, nobody waits for anybody.
func TestAllAtOnce(t *testing.T) {
	w := newWorld(t, 3).start()
	s := w.server
	stop := make(chan struct{})
	var going sync.WaitGroup
	var devices []*laptop
	var rounds []*atomic.Int64 // of each that goes on
	again := func(f func()) {
		n := new(atomic.Int64)
		rounds = append(rounds, n)
		going.Go(func() {
			for ; ; n.Add(1) {
				select {
				case <-stop:
					return
				default:
					f()
					runtime.Gosched()
				}
			}
		})
	}
	for link, name := range []string{"desk", "laptop"} {
		d := w.join(w.invite(InviteOptions{Name: name}), "", link)
		devices = append(devices, d)
		for range 4 {
			again(func() {
				c, err := d.dial(somewhere)
				if err != nil {
					return
				}
				c.Write(make([]byte, 10_000))
				if rand.IntN(2) == 0 {
					c.Abort(net.ErrClosed)
					return
				}
				c.Close()
			})
		}
		again(func() {
			p := packet.Packet{Source: d.host4, Target: s.inner4, TTL: 64}
			d.bond.SendPackets([][]byte{p.AppendEcho(nil, packet.Echo{}), p.AppendUDP(nil, uint16(rand.Uint32()), 53, []byte("?"))})
		})
	}
	hub := len(rounds)
	again(func() { s.Devices() })
	again(func() { s.survey(time.Now()) })
	again(func() { s.sweep(time.Now().Add(time.Duration(rand.IntN(2)) * 2 * time.Hour)) })
	again(func() { s.Invite(InviteOptions{}) })
	goOn(t, rounds)
	if err := s.Revoke("laptop"); err != nil {
		t.Error(err)
	}
	goOn(t, rounds[hub:])
	w.stop()
	close(stop)
	for _, d := range devices {
		d.off()
	}
	done := make(chan struct{})
	go func() { going.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("somebody waits for ever")
	}
	for what, b := range map[string]*budget{"connections": s.budget, "datagrams": s.ports, "questions": s.resolver.busy} {
		if b.used != 0 {
			t.Errorf("%d %s are still counted", b.used, what)
		}
	}
}

// goOn waits until each has gone round some times more.
func goOn(t *testing.T, rounds []*atomic.Int64) {
	t.Helper()
	for i, n := range rounds {
		from := n.Load()
		apptest.Until(t, fmt.Sprintf("%d goes on", i), func() bool { return n.Load() >= from+10 })
	}
}
