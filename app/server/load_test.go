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
	"time"

	"github.com/miekg/dns"

	"tandem/app/apptest"
	"tandem/app/invite"
	"tandem/engine/wire"
	"tandem/tunnel/packet"
	"tandem/tunnel/relay"
)

// A moodyDialer never gets an answer from port 81; elsewhere somebody answers who reads nothing.
type moodyDialer struct{ at string }

func (d moodyDialer) Dial(ctx context.Context, target netip.AddrPort) (relay.Stream, error) {
	if target.Port() == apptest.RefusedPort {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return apptest.Loop{At: d.at}.Dial(ctx, target)
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
}

func newBusyWorld(t *testing.T) *world {
	w := newWorld(t, 2)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var kept []net.Conn
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			kept = append(kept, c)
			mu.Unlock()
		}
	}()
	silent, deaf := apptest.Listen(t)
	t.Cleanup(func() {
		l.Close()
		deaf.Close()
		silent.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range kept {
			c.Close()
		}
	})
	w.config.Dialer, w.config.Upstreams = moodyDialer{l.Addr().String()}, []string{silent.LocalAddr().String()}
	return w.start()
}

func TestRevokeUnderLoad(t *testing.T) {
	w := newBusyWorld(t)
	d := w.join(w.invite(InviteOptions{}), "laptop", 0, 1)
	d.busy(t)
	if err := w.server.Revoke("laptop"); err != nil {
		t.Fatal(err)
	}
	s := w.server
	for what, b := range map[string]*budget{"connections": s.budget, "datagrams": s.ports, "questions": s.resolver.busy} {
		if b.used != 0 {
			t.Errorf("%d %s are still counted", b.used, what)
		}
	}
}

func TestStopUnderLoad(t *testing.T) {
	w := newBusyWorld(t)
	for link, name := range []string{"laptop", "desk"} {
		w.join(w.invite(InviteOptions{}), name, link).busy(t)
	}
	w.stop()
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
