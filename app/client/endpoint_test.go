package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"tandem/app/config"
	"tandem/app/control"
)

func TestResolve(t *testing.T) {
	one, two := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")
	known := config.Endpoints{"gone.example:3": {netip.MustParseAddrPort("192.0.2.9:3")}}
	all, found := resolve(t.Context(), []string{"192.0.2.1:1", "home.example:2", "gone.example:3", "never.example:4", "home.example:x"},
		func(_ context.Context, host string) ([]netip.Addr, error) {
			if host == "home.example" {
				return []netip.Addr{one, two}, nil
			}
			return nil, errors.New("not now")
		}, known)
	want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1"), netip.AddrPortFrom(one, 2), netip.AddrPortFrom(two, 2), known["gone.example:3"][0]}
	if !slices.Equal(all, want) {
		t.Errorf("endpoints %v, want %v", all, want)
	}
	if want := (config.Endpoints{"home.example:2": want[1:3]}); !reflect.DeepEqual(found, want) {
		t.Errorf("found %v, want %v", found, want)
	}
	if all, _ := resolve(t.Context(), []string{"home.example:2", "192.0.2.1:1", "gone.example:3"}, remembered, known); !slices.Equal(all,
		[]netip.AddrPort{want[0], want[3]}) {
		t.Errorf("from memory: %v", all)
	}
}

// nameserver answers for home.example with the hub's address, over UDP, when so many have asked: the first answer
// counts, and nobody need ask any more.
func nameserver(t *testing.T, hub netip.Addr, askers int) netip.AddrPort {
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	asked, all := map[string]bool{}, make(chan struct{})
	s := &dns.Server{PacketConn: socket, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		mu.Lock()
		if from := w.RemoteAddr().String(); q.Question[0].Qtype == dns.TypeA && !asked[from] {
			if asked[from] = true; len(asked) == askers {
				close(all)
			}
		}
		mu.Unlock()
		select {
		case <-all:
		case <-t.Context().Done():
			return
		}
		answer := new(dns.Msg).SetReply(q)
		if q.Question[0].Name == "home.example." && q.Question[0].Qtype == dns.TypeA {
			answer.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: hub.AsSlice()}}
		}
		w.WriteMsg(answer)
	})}
	go s.ActivateAndServe()
	t.Cleanup(func() { s.Shutdown() })
	return socket.LocalAddr().(*net.UDPAddr).AddrPort()
}

// TestHubByName: the hub's name is looked up over the links, each by its own sockets, and remembered for a time without name servers.
func TestHubByName(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	w.join()
	m, err := w.state.Membership()
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(m.Endpoints[0])
	m.Endpoints = []string{fmt.Sprintf("home.example:%d", at.Port())}
	if err := w.state.SaveMembership(m); err != nil {
		t.Fatal(err)
	}
	servers := []netip.AddrPort{nameserver(t, at.Addr(), 2)}
	w.startAsking(func() []netip.AddrPort { return servers })
	w.connected("wlan0", "wwan0")
	if pinned := w.host.Pinned(); !slices.Contains(pinned, "wlan0") || !slices.Contains(pinned, "wwan0") {
		t.Errorf("asked over %q", pinned)
	}
	w.wait("the name's address is kept", func(control.State) bool {
		e, err := w.state.Endpoints()
		return err == nil && slices.Equal(e[m.Endpoints[0]], []netip.AddrPort{at})
	})
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	dead := netip.MustParseAddrPort("127.0.0.1:9")
	w.startAsking(func() []netip.AddrPort { return []netip.AddrPort{dead} })
	w.connected("wlan0", "wwan0")
	echoes(t, w.dial(), 1000)
	if err := w.client.Leave(w.ctx()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(string(w.state), "endpoints.json")); !os.IsNotExist(err) {
		t.Errorf("after leaving, the hub's addresses: %v", err)
	}
}

// startAsking runs the daemon with name servers of the test's.
func (w *world) startAsking(servers func() []netip.AddrPort) {
	w.t.Helper()
	w.startWith(w.config(), func(c *Client) { c.nameservers = servers })
}

func TestLookupEndsWithTheClient(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	w.join()
	m, _ := w.state.Membership()
	m.Endpoints = []string{"home.example:1"}
	if err := w.state.SaveMembership(m); err != nil {
		t.Fatal(err)
	}
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	asked := make(chan struct{})
	go func() {
		silent.ReadFrom(make([]byte, 512))
		close(asked)
	}()
	start := time.Now()
	w.startAsking(func() []netip.AddrPort { return []netip.AddrPort{silent.LocalAddr().(*net.UDPAddr).AddrPort()} })
	<-asked
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took >= lookupTime {
		t.Errorf("stopped after %v, when the lookup had ended by itself", took)
	}
}
