package server

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

const (
	resolvConf     = "/etc/resolv.conf"
	upstreamsLife  = 5 * time.Second  // of what resolv.conf says
	upstreamWait   = 2 * time.Second  // for an answer of one upstream
	questionWait   = 6 * time.Second  // for an answer of any
	questionsMax   = 512              // under way at once, of all devices
	dnsIdle        = 10 * time.Second // of a TCP connection without a question
	dnsUDPMax      = 1232             // octets of an answer over UDP: passes through every path
	dnsUDPUnasked  = 512              // RFC 1035 4.2.1
	dnsHeaderLen   = 12
	dnsMessageMax  = 65535
	dnsUpstreamMax = 3
)

// A resolver answers devices' questions by asking the hub's own resolvers. What it answers depends on
// what the device may reach: an address that the hub would refuse is of no use, and may be an attempt
// to have a browser reach into a local network (DNS rebinding).
type resolver struct {
	given []string // HOST:PORT; nil: as conf says
	conf  string   // a resolv.conf
	ipv6  func() bool
	busy  *budget // of questions under way

	exchange func(ctx context.Context, network string, q *dns.Msg, host string) (*dns.Msg, error) // asks one upstream

	asked, failed atomic.Uint64

	mu    sync.Mutex
	known []string
	read  time.Time
}

func newResolver(given []string, ipv6 func() bool) *resolver {
	return &resolver{given: given, conf: resolvConf, ipv6: ipv6, busy: &budget{total: questionsMax}, exchange: exchange}
}

// upstreams returns whom to ask.
func (r *resolver) upstreams() []string {
	if r.given != nil {
		return r.given
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.read.IsZero() || time.Since(r.read) > upstreamsLife {
		r.read = time.Now()
		// A file that cannot be read, as while it is written, changes nothing.
		if hosts := readUpstreams(r.conf); hosts != nil {
			r.known = hosts
		}
	}
	return r.known
}

func readUpstreams(path string) (hosts []string) {
	c, err := dns.ClientConfigFromFile(path)
	if err != nil {
		return nil
	}
	for _, s := range c.Servers[:min(len(c.Servers), dnsUpstreamMax)] {
		hosts = append(hosts, net.JoinHostPort(s, c.Port))
	}
	return hosts
}

// answer returns the answer to a question, or nil when there is none: it was not one, or the device has
// its share under way. It takes up to questionWait.
func (r *resolver) answer(ctx context.Context, question []byte, tcp bool, rules *Rules, asking *share) []byte {
	if len(question) < dnsHeaderLen || question[2]&0x80 != 0 { // an answer, RFC 1035 4.1.1
		return nil
	}
	if !asking.take() {
		return nil
	}
	defer asking.give()
	r.asked.Add(1)
	q := new(dns.Msg)
	a := new(dns.Msg)
	switch err := q.Unpack(question); {
	case err != nil:
		q.Id = binary.BigEndian.Uint16(question)
		a.SetRcode(q, dns.RcodeFormatError)
	case q.Opcode != dns.OpcodeQuery || len(q.Question) != 1:
		a.SetRcode(q, dns.RcodeNotImplemented)
	case q.Question[0].Qtype == dns.TypeAXFR || q.Question[0].Qtype == dns.TypeIXFR:
		a.SetRcode(q, dns.RcodeRefused)
	case rules.hides(q.Question[0]):
		a.SetRcode(q, dns.RcodeNameError)
	default:
		a = r.ask(ctx, q, tcp)
		r.filter(a, rules)
	}
	a.Compress = true // it came so, and may be too long without
	if !tcp {
		a.Truncate(roomOf(q))
	}
	packed, err := a.Pack()
	if err != nil || len(packed) > dnsMessageMax {
		r.failed.Add(1)
		return nil
	}
	return packed
}

// hides reports whether a question is for the name of an address that is not reached: who lives in the hub's
// local network is nobody's business.
func (r *Rules) hides(q dns.Question) bool {
	a := reverseOf(q.Name)
	return a.IsValid() && r.denied(a) != ""
}

// roomOf returns how many octets an answer over UDP may have.
func roomOf(q *dns.Msg) int {
	if o := q.IsEdns0(); o != nil {
		return min(max(int(o.UDPSize()), dnsUDPUnasked), dnsUDPMax)
	}
	return dnsUDPUnasked
}

// ask asks one upstream after the other, twice. whole says that an answer that is cut short is not enough.
func (r *resolver) ask(ctx context.Context, q *dns.Msg, whole bool) *dns.Msg {
	ctx, cancel := context.WithTimeout(ctx, questionWait)
	defer cancel()
	var poor, short *dns.Msg // answers that another upstream may better
	hosts := r.upstreams()
	for i, host := range slices.Concat(hosts, hosts) {
		if ctx.Err() != nil || i >= len(hosts) && short != nil {
			break
		}
		asked := q.Copy()
		asked.Id = dns.Id() // not one that the device, or who watches it, could foresee
		a, err := r.exchange(ctx, "udp", asked, host)
		if err == nil && a.Truncated && whole {
			a = r.wholeOr(ctx, a, asked, host)
		}
		if err != nil || !slices.Equal(a.Question, asked.Question) {
			continue
		}
		a.Id = q.Id
		switch {
		case a.Rcode == dns.RcodeServerFailure, a.Rcode == dns.RcodeRefused:
			poor = a
		case a.Truncated && whole:
			short = a
		default:
			return a
		}
	}
	if short != nil {
		return short
	}
	r.failed.Add(1)
	if poor == nil {
		poor = new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
	}
	return poor
}

// wholeOr asks over TCP what was answered cut short. Not every upstream takes that: then the short answer stands.
func (r *resolver) wholeOr(ctx context.Context, short, q *dns.Msg, host string) *dns.Msg {
	if a, err := r.exchange(ctx, "tcp", q, host); err == nil {
		return a
	}
	return short
}

// exchange asks one upstream. Nobody waits for its answer when ctx has ended.
func exchange(ctx context.Context, network string, q *dns.Msg, host string) (*dns.Msg, error) {
	c := dns.Client{Net: network, Timeout: upstreamWait}
	conn, err := c.DialContext(ctx, host)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	a, _, err := c.ExchangeWithConnContext(ctx, q, conn)
	return a, err
}

// filter takes out of an answer what the device could not reach.
func (r *resolver) filter(a *dns.Msg, rules *Rules) {
	ipv6 := r.ipv6()
	changed := map[uint16]bool{} // types of which something is missing now
	useless := func(ip net.IP, of uint16) bool {
		addr, ok := netip.AddrFromSlice(ip)
		addr = addr.Unmap()
		no := !ok || addr.Is6() && !ipv6 || rules.denied(addr) != ""
		changed[of] = changed[of] || no
		return no
	}
	drop := func(rr dns.RR) bool {
		of := rr.Header().Rrtype
		switch rr := rr.(type) {
		case *dns.A:
			return useless(rr.A, of)
		case *dns.AAAA:
			return useless(rr.AAAA, of)
		case *dns.HTTPS:
			rr.Value = hints(rr.Value, func(ip net.IP) bool { return useless(ip, of) })
		case *dns.SVCB:
			rr.Value = hints(rr.Value, func(ip net.IP) bool { return useless(ip, of) })
		}
		return false
	}
	a.Answer = slices.DeleteFunc(a.Answer, drop)
	a.Ns = slices.DeleteFunc(a.Ns, drop)
	a.Extra = slices.DeleteFunc(a.Extra, drop)
	// A signature over records of which some are missing does not hold.
	a.Answer = slices.DeleteFunc(a.Answer, func(rr dns.RR) bool {
		s, ok := rr.(*dns.RRSIG)
		return ok && changed[s.TypeCovered]
	})
	for _, yes := range changed {
		a.AuthenticatedData = a.AuthenticatedData && !yes
	}
}

// hints takes the addresses that are of no use out of a service binding (RFC 9460 7.3).
func hints(values []dns.SVCBKeyValue, useless func(net.IP) bool) []dns.SVCBKeyValue {
	return slices.DeleteFunc(values, func(v dns.SVCBKeyValue) bool {
		switch v := v.(type) {
		case *dns.SVCBIPv4Hint:
			v.Hint = slices.DeleteFunc(v.Hint, useless)
			return len(v.Hint) == 0
		case *dns.SVCBIPv6Hint:
			v.Hint = slices.DeleteFunc(v.Hint, useless)
			return len(v.Hint) == 0
		}
		return false
	})
}

// serve answers the questions that come over a TCP connection, one after the other, and closes it
// (RFC 7766).
func (r *resolver) serve(ctx context.Context, c net.Conn, rules func() *Rules, asking *share) {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Now()) })()
	for {
		c.SetDeadline(time.Now().Add(dnsIdle))
		if ctx.Err() != nil {
			return
		}
		var length [2]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return
		}
		question := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(c, question); err != nil {
			return
		}
		a := r.answer(ctx, question, true, rules(), asking)
		if a == nil {
			return
		}
		c.SetDeadline(time.Now().Add(dnsIdle))
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...)); err != nil {
			return
		}
	}
}
