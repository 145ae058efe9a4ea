package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"tandem/app/apptest"
)

// An upstream answers each name with the records that it is given for it, over UDP and TCP.
type upstream struct {
	at    string
	asked atomic.Int64
}

func newUpstream(t *testing.T, zone map[string][]string, rcode int) *upstream {
	t.Helper()
	u := &upstream{}
	handler := zoneHandler(zone, rcode, &u.asked)
	u.at = apptest.Resolver(t, handler)
	return u
}

func zoneHandler(zone map[string][]string, rcode int, asked *atomic.Int64) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		asked.Add(1)
		a := new(dns.Msg).SetRcode(q, rcode)
		for _, s := range zone[q.Question[0].Name] {
			rr, err := dns.NewRR(q.Question[0].Name + " 60 IN " + s)
			if err != nil {
				panic(err)
			}
			a.Answer = append(a.Answer, rr)
		}
		a.AuthenticatedData, a.Compress = true, true
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			a.Truncate(roomOf(q))
		}
		w.WriteMsg(a)
	}
}

// share is what a device that asks for the first time has under way.
func (r *resolver) share() *share { return &share{budget: r.busy} }

func ipv6(yes bool) func() bool { return func() bool { return yes } }

func question(t *testing.T, name string, qtype uint16, edit func(*dns.Msg)) []byte {
	t.Helper()
	q := new(dns.Msg).SetQuestion(name, qtype)
	q.Id = 4711
	if edit != nil {
		edit(q)
	}
	b, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func answerTexts(t *testing.T, b []byte) (m *dns.Msg, texts []string) {
	t.Helper()
	m = new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		t.Fatal(err)
	}
	if m.Id != 4711 || !m.Response {
		t.Errorf("no answer to the question: %v", m)
	}
	for _, rr := range m.Answer {
		texts = append(texts, strings.Join(strings.Fields(rr.String())[3:], " "))
	}
	return m, texts
}

func TestResolverAnswersWhatCanBeReached(t *testing.T) {
	u := newUpstream(t, map[string][]string{
		"a.test.":      {"A 93.184.216.34"},
		"rebind.test.": {"A 10.0.0.1", "A 127.0.0.1", "A 93.184.216.34", "RRSIG A 8 2 60 20300101000000 20290101000000 1 test. AAAA"},
		"own.test.":    {"A 203.0.113.5"},
		"six.test.":    {"AAAA 2606:2800:220:1::1"},
		"ula.test.":    {"AAAA fd00::1", "AAAA ::1", "AAAA 64:ff9b::a00:1"},
		"svc.test.":    {`HTTPS 1 . alpn=h3 ipv4hint=10.0.0.1,93.184.216.34 ipv6hint=2606:2800:220:1::1`},
		"alias.test.":  {"CNAME a.test."},
	}, dns.RcodeSuccess)
	for _, c := range []struct {
		name  string
		qtype uint16
		six   bool
		lan   bool
		want  []string
		ad    bool
	}{
		{"a.test.", dns.TypeA, false, false, []string{"A 93.184.216.34"}, true},
		{"rebind.test.", dns.TypeA, true, false, []string{"A 93.184.216.34"}, false},
		{"rebind.test.", dns.TypeA, true, true, []string{"A 10.0.0.1", "A 93.184.216.34"}, false},
		{"own.test.", dns.TypeA, true, true, nil, false},
		{"six.test.", dns.TypeAAAA, true, false, []string{"AAAA 2606:2800:220:1::1"}, true},
		{"six.test.", dns.TypeAAAA, false, false, nil, false},
		{"ula.test.", dns.TypeAAAA, true, false, nil, false},
		{"ula.test.", dns.TypeAAAA, true, true, []string{"AAAA fd00::1", "AAAA 64:ff9b::a00:1"}, false},
		{"svc.test.", dns.TypeHTTPS, true, false, []string{`HTTPS 1 . alpn="h3" ipv4hint="93.184.216.34" ipv6hint="2606:2800:220:1::1"`}, false},
		{"svc.test.", dns.TypeHTTPS, false, false, []string{`HTTPS 1 . alpn="h3" ipv4hint="93.184.216.34"`}, false},
		{"alias.test.", dns.TypeA, false, false, []string{"CNAME a.test."}, true},
	} {
		for _, tcp := range []bool{false, true} {
			rules := rulesForTest()
			rules.LAN = c.lan
			r := newResolver([]string{u.at}, ipv6(c.six))
			m, texts := answerTexts(t, r.answer(t.Context(), question(t, c.name, c.qtype, nil), tcp, &rules, r.share()))
			if !slices.Equal(texts, c.want) {
				t.Errorf("%s, IPv6 %v, local %v, TCP %v: %q, want %q", c.name, c.six, c.lan, tcp, texts, c.want)
			}
			if m.AuthenticatedData != c.ad || m.Rcode != dns.RcodeSuccess {
				t.Errorf("%s: AD %v, rcode %d", c.name, m.AuthenticatedData, m.Rcode)
			}
		}
	}
}

func TestResolverTruncates(t *testing.T) {
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("A 93.184.216.%d", i))
	}
	u := newUpstream(t, map[string][]string{"many.test.": many}, dns.RcodeSuccess)
	r := newResolver([]string{u.at}, ipv6(true))
	rules := rulesForTest()
	for _, c := range []struct {
		what      string
		size      uint16 // 0: no EDNS
		tcp       bool
		max       int
		truncated bool
	}{
		{"plain", 0, false, 512, true},
		{"EDNS", 1200, false, 1200, true},
		{"EDNS beyond what passes", 4096, false, dnsUDPMax, true},
		{"TCP", 0, true, 65535, false},
	} {
		b := r.answer(t.Context(), question(t, "many.test.", dns.TypeA, func(q *dns.Msg) {
			if c.size > 0 {
				q.SetEdns0(c.size, false)
			}
		}), c.tcp, &rules, r.share())
		m, texts := answerTexts(t, b)
		if len(b) > c.max || m.Truncated != c.truncated || !c.truncated && len(texts) != len(many) {
			t.Errorf("%s: %d octets, %d records, TC %v", c.what, len(b), len(texts), m.Truncated)
		}
	}
}

func TestResolverFindsOneThatAnswers(t *testing.T) {
	dead, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := dead.LocalAddr().String()
	dead.Close()
	broken := newUpstream(t, nil, dns.RcodeServerFailure)
	good := newUpstream(t, map[string][]string{"a.test.": {"A 93.184.216.34"}}, dns.RcodeSuccess)
	rules := rulesForTest()
	r := newResolver([]string{gone, broken.at, good.at}, ipv6(true))
	if _, texts := answerTexts(t, r.answer(t.Context(), question(t, "a.test.", dns.TypeA, nil), false, &rules, r.share())); len(texts) != 1 {
		t.Errorf("%q", texts)
	}
	for what, hosts := range map[string][]string{"nobody": {}, "nobody there": {gone}, "one that fails": {broken.at}} {
		r := newResolver(hosts, ipv6(true))
		m, _ := answerTexts(t, r.answer(t.Context(), question(t, "a.test.", dns.TypeA, nil), false, &rules, r.share()))
		if m.Rcode != dns.RcodeServerFailure || r.failed.Load() != 1 {
			t.Errorf("%s: %v, %d failures", what, m, r.failed.Load())
		}
	}
}

func TestResolverIsNotAskedEverything(t *testing.T) {
	u := newUpstream(t, nil, dns.RcodeSuccess)
	r := newResolver([]string{u.at}, ipv6(true))
	rules := rulesForTest()
	for what, c := range map[string]struct {
		q     []byte
		rcode int // -1: no answer
	}{
		"nothing":       {nil, -1},
		"an answer":     {question(t, "a.test.", dns.TypeA, func(q *dns.Msg) { q.Response = true }), -1},
		"half a header": {question(t, "a.test.", dns.TypeA, nil)[:7], -1},
		"cut off":       {question(t, "a.test.", dns.TypeA, nil)[:15], dns.RcodeFormatError},
		"an update":     {question(t, "a.test.", dns.TypeA, func(q *dns.Msg) { q.Opcode = dns.OpcodeUpdate }), dns.RcodeNotImplemented},
		"two questions": {question(t, "a.test.", dns.TypeA, func(q *dns.Msg) { q.Question = append(q.Question, q.Question[0]) }), dns.RcodeNotImplemented},
		"a whole zone":  {question(t, "test.", dns.TypeAXFR, nil), dns.RcodeRefused},
	} {
		b := r.answer(t.Context(), c.q, false, &rules, r.share())
		if c.rcode < 0 {
			if b != nil {
				t.Errorf("%s is answered", what)
			}
			continue
		}
		if m, _ := answerTexts(t, b); m.Rcode != c.rcode {
			t.Errorf("%s: rcode %d, want %d", what, m.Rcode, c.rcode)
		}
	}
	greedy := r.share()
	for greedy.take() {
	}
	if r.answer(t.Context(), question(t, "a.test.", dns.TypeA, nil), false, &rules, greedy) != nil {
		t.Error("answered with as many under way as a device may have")
	}
	if n := u.asked.Load(); n != 0 {
		t.Errorf("the upstream was asked %d times", n)
	}
	if r.answer(t.Context(), question(t, "a.test.", dns.TypeA, nil), false, &rules, r.share()) == nil {
		t.Error("another device is not answered meanwhile")
	}
}

// Whoever ends a session does not wait for an upstream that is silent.
func TestResolverLetsGo(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	r, rules := newResolver([]string{silent.LocalAddr().String()}, ipv6(true)), rulesForTest()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		silent.ReadFrom(make([]byte, dnsUDPUnasked))
		cancel()
	}()
	began := time.Now()
	r.answer(ctx, question(t, "a.test.", dns.TypeA, nil), false, &rules, r.share())
	if took := time.Since(began); took >= upstreamWait {
		t.Errorf("it took %v to let go", took)
	}
}

// The names of hosts in the local network are for who reaches it.
func TestResolverHidesNames(t *testing.T) {
	zone := map[string][]string{}
	private := []string{"1.0.0.10.in-addr.arpa.", "1.0.0.10.IN-ADDR.arpa.", "1." + strings.Repeat("0.", 29) + "d.f.ip6.arpa."}
	public := "34.216.184.93.in-addr.arpa."
	for _, name := range append(private, public) {
		zone[name] = []string{"PTR nas.test."}
	}
	u := newUpstream(t, zone, dns.RcodeSuccess)
	r := newResolver([]string{u.at}, ipv6(true))
	for _, lan := range []bool{false, true} {
		rules := rulesForTest()
		rules.LAN = lan
		for _, name := range append(private, public) {
			m, texts := answerTexts(t, r.answer(t.Context(), question(t, name, dns.TypePTR, nil), false, &rules, r.share()))
			if hidden := !lan && name != public; hidden != (m.Rcode == dns.RcodeNameError) || hidden != (len(texts) == 0) {
				t.Errorf("%s, local %v: rcode %d, %q", name, lan, m.Rcode, texts)
			}
		}
	}
	for _, name := range []string{"in-addr.arpa.", "a.in-addr.arpa.", "1.2.3.in-addr.arpa.", "ip6.arpa.", "1.ip6.arpa.", "4.5.6.7.0.1.2.3.ip6.arpa.", "12.ip6.arpa.", "test.", "."} {
		if a := reverseOf(name); a.IsValid() {
			t.Errorf("%s is taken for the name of %v", name, a)
		}
	}
}

// An answer to something else is none, whoever sent it.
func TestResolverComparesTheQuestion(t *testing.T) {
	forger, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer forger.Close()
	go func() {
		b := make([]byte, 512)
		for {
			n, from, err := forger.ReadFrom(b)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			q.Unpack(b[:n])
			q.Question[0].Name = "other.test."
			a := new(dns.Msg).SetReply(q)
			rr, _ := dns.NewRR("a.test. 60 IN A 93.184.216.34")
			a.Answer = append(a.Answer, rr)
			packed, _ := a.Pack()
			forger.WriteTo(packed, from)
		}
	}()
	r, rules := newResolver([]string{forger.LocalAddr().String()}, ipv6(true)), rulesForTest()
	m, texts := answerTexts(t, r.answer(t.Context(), question(t, "a.test.", dns.TypeA, nil), false, &rules, r.share()))
	if len(texts) != 0 || m.Rcode != dns.RcodeServerFailure {
		t.Errorf("answered %q", texts)
	}
}

// What fits into a message as the upstream wrote it fits into ours.
func TestResolverCompresses(t *testing.T) {
	var many []string
	for i := range 3000 {
		many = append(many, fmt.Sprintf("A 93.184.%d.%d", i/250, i%250))
	}
	name := strings.Repeat("long.", 20) + "test."
	u := newUpstream(t, map[string][]string{name: many}, dns.RcodeSuccess)
	r, rules := newResolver([]string{u.at}, ipv6(true)), rulesForTest()
	b := r.answer(t.Context(), question(t, name, dns.TypeA, nil), true, &rules, r.share())
	if b == nil {
		t.Fatal("no answer")
	}
	if _, texts := answerTexts(t, b); len(texts) != len(many) {
		t.Errorf("%d records", len(texts))
	}
}

func TestResolverOverTCP(t *testing.T) {
	u := newUpstream(t, map[string][]string{"a.test.": {"A 93.184.216.34"}}, dns.RcodeSuccess)
	r := newResolver([]string{u.at}, ipv6(true))
	device, hub := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.serve(ctx, hub, func() *Rules { rules := rulesForTest(); return &rules }, r.share())
	}()
	device.SetDeadline(time.Now().Add(patience))
	for range 3 {
		q := question(t, "a.test.", dns.TypeA, nil)
		device.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...))
		var length [2]byte
		if _, err := io.ReadFull(device, length[:]); err != nil {
			t.Fatal(err)
		}
		a := make([]byte, binary.BigEndian.Uint16(length[:]))
		io.ReadFull(device, a)
		if _, texts := answerTexts(t, a); len(texts) != 1 {
			t.Errorf("%q", texts)
		}
	}
	cancel()
	<-done
	if _, err := device.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

func TestUpstreamsOfResolvConf(t *testing.T) {
	path := t.TempDir() + "/resolv.conf"
	os.WriteFile(path, []byte("# made by hand\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch example.net\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"), 0o600)
	if got, want := readUpstreams(path), []string{"192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := readUpstreams(path + ".none"); got != nil {
		t.Errorf("without the file: %q", got)
	}
	r := newResolver(nil, ipv6(true))
	r.conf = path
	first := r.upstreams()
	os.Remove(path)
	r.read = r.read.Add(-2 * upstreamsLife)
	if again := r.upstreams(); len(first) != 3 || !slices.Equal(again, first) {
		t.Errorf("%q, and %q when the file was gone for a moment", first, again)
	}
}

// Not every upstream takes TCP: it is asked by it only for what UDP cut short, and then some is better than nothing.
func TestResolverWithoutTCPUpstream(t *testing.T) {
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("A 93.184.216.%d", i))
	}
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	zone := map[string][]string{"a.test.": {"A 93.184.216.34"}, "many.test.": many}
	s := &dns.Server{PacketConn: c, Handler: zoneHandler(zone, dns.RcodeSuccess, new(atomic.Int64))}
	ready := make(chan struct{})
	s.NotifyStartedFunc = func() { close(ready) }
	go s.ActivateAndServe()
	<-ready
	defer s.Shutdown()
	r, rules := newResolver([]string{c.LocalAddr().String()}, ipv6(true)), rulesForTest()
	for name, cut := range map[string]bool{"a.test.": false, "many.test.": true} {
		m, texts := answerTexts(t, r.answer(t.Context(), question(t, name, dns.TypeA, nil), true, &rules, r.share()))
		if m.Truncated != cut || len(texts) == 0 || m.Rcode != dns.RcodeSuccess {
			t.Errorf("%s: cut %v, %d records, rcode %d", name, m.Truncated, len(texts), m.Rcode)
		}
	}
}
