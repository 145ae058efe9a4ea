package client

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"tandem/app/apptest"
	"tandem/app/control"
	"tandem/app/invite"
	"tandem/platform/platformtest"
	"tandem/tunnel/packet"
)

// nameServer answers every question for an IPv4 address with that of somewhere.
func nameServer(t *testing.T) string {
	answer := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			rr, _ := dns.NewRR(q.Question[0].Name + " 60 A " + somewhere.Addr().String())
			a.Answer = append(a.Answer, rr)
		}
		w.WriteMsg(a)
	})
	return apptest.Resolver(t, answer)
}

func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestProxy(t *testing.T) {
	w := newWorld(t)
	w.hub.Upstreams = []string{nameServer(t)}
	w.startHub()
	w.join()
	cfg := w.config()
	cfg.Socks.Listen = freePort(t)
	w.start(cfg)
	w.connected("wlan0", "wwan0")
	c, err := net.Dial("tcp", cfg.Socks.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(soon))
	fmt.Fprintf(c, "CONNECT echo.example:80 HTTP/1.1\r\nHost: echo.example:80\r\n\r\n")
	in := bufio.NewReader(c)
	if r, err := http.ReadResponse(in, nil); err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", r, err)
	}
	fmt.Fprintln(c, "hello")
	if line, err := in.ReadString('\n'); err != nil || line != "hello\n" {
		t.Errorf("%q, %v", line, err)
	}
	w.wait("a connection", func(s control.State) bool { return s.Connections == 1 })
	if all, err := w.client.Connections(w.ctx()); err != nil || len(all) != 1 || all[0].Target != somewhere {
		t.Errorf("connections %+v, %v", all, err)
	}
}

func TestProxyPortTaken(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	w.join()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := w.config()
	cfg.Socks.Listen = l.Addr().String()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(w.ctx()); err == nil || !strings.Contains(err.Error(), "another program listens at "+cfg.Socks.Listen) {
		t.Errorf("a port that is taken: %v", err)
	}
}

// TestDatagrams asks the hub's name server from a program of the device.
func TestDatagrams(t *testing.T) {
	w := newWorld(t)
	w.hub.Upstreams = []string{nameServer(t)}
	w.startHub()
	w.join()
	cfg := w.config()
	h := tunHost{w.host, make(chan *platformtest.Tun, 1), nil}
	cfg.Host, cfg.Routes = h, "default"
	w.start(cfg)
	w.connected("wlan0", "wwan0")
	tun := <-h.made
	m, err := w.state.Membership()
	if err != nil {
		t.Fatal(err)
	}
	host4, _ := invite.HostAddrs(m.Hub)
	hub4, _ := invite.HubAddrs(m.Hub)
	ask := func(link string) {
		t.Helper()
		question, _ := new(dns.Msg).SetQuestion("example.", dns.TypeA).Pack()
		for try := 0; try < 20; try++ {
			tun.Send((&packet.Packet{Source: host4, Target: hub4}).AppendUDP(nil, 4000, invite.DNSPort, question))
			if pkt := receive(tun, time.Second, invite.DNSPort); pkt != nil {
				checkAnswer(t, pkt, hub4, host4)
				return
			}
		}
		t.Errorf("no answer over %s", link)
	}
	ask("either link")
	w.silence(0, true)
	ask("wwan0")
	flows, err := w.client.Flows(w.ctx())
	if err != nil || len(flows) == 0 || flows[0].Protocol != "udp" || flows[0].Sent == 0 || flows[0].Received == 0 {
		t.Errorf("flows %+v, %v", flows, err)
	}
}

// receive waits for a UDP packet from a port; nil: none came in time.
func receive(tun *platformtest.Tun, patience time.Duration, port uint16) []byte {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		pkt, err := tun.Receive(ctx)
		if err != nil {
			return nil
		}
		var p packet.Packet
		if p.Parse(pkt) == nil {
			if from, _, _, err := p.UDP(); err == nil && from == port {
				return pkt
			}
		}
	}
}

func checkAnswer(t *testing.T, pkt []byte, source, target netip.Addr) {
	t.Helper()
	var p packet.Packet
	if err := p.Parse(pkt); err != nil || p.Source != source || p.Target != target {
		t.Fatalf("%x: %v", pkt, err)
	}
	from, to, payload, err := p.UDP()
	var a dns.Msg
	if err != nil || from != invite.DNSPort || to != 4000 || a.Unpack(payload) != nil || len(a.Answer) != 1 {
		t.Errorf("%d to %d: %v, %v", from, to, a, err)
	}
}
