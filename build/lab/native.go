package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A maker is a proxy of another make, which runs where the hub does.
type maker struct {
	name, url string
	needs     []string // programs
	start     func(h *household) (*job, error)
	trials    []trial
}

const (
	socksPort   = 1080
	convertPort = 8803

	// nativeShare is what of both links together one connection gets, and nativeLeast what each link carries of that.
	nativeShare = 0.9
	nativeLeast = 0.15
)

func makers() []maker {
	limit := fmt.Sprintf("≥ %.1f Mbit/s, digest, links ≥ %.0f %%", nativeShare*sumRate/1e6, 100*nativeLeast)
	both := []trial{{"200 MB down", limit, bothLinks(download0)}, {"200 MB up", limit, bothLinks(upload0)}}
	rest := []trial{
		{"who asks", "the proxy", whoAsks(hubHost)},
		{"on the wire", "MP_CAPABLE, MP_JOIN, no fallback", onTheWire},
		{"half-close, the client first", "digest of all", halfClose},
		{"half-close, the server first", "digests of both", halfCloseServer},
		{"refused", "at once", fails(webHost, deafPort, 7, time.Second)},
		// Multipath TCP of the kernel does not end its connect at the first ICMP error, but at that of a repeated SYN.
		{"unreachable", "≤ 10 s", fails(unreachable, 80, 7, 10*time.Second)},
		{"reset in mid-transfer", "an error, no end", resetMidway},
		{"page of 60 objects", "every digest", page},
		{"one link cut for 4 s in mid-transfer", "digest", cutNative},
		{"UDP goes as it did", "an answer", dig("A", webHost, "@"+resolver)},
		{"ping goes as it did", "none of 10 lost", ping(webHost)},
	}
	socks := func(at string) string { return "socks5://" + at + ":" + strconv.Itoa(socksPort) }
	micro := func(args ...string) func(h *household) (*job, error) {
		return func(h *household) (*job, error) {
			return h.start(h.hub, "microsocks", append([]string{"mptcpize", "run", "microsocks", "-p", strconv.Itoa(socksPort)}, args...)...)
		}
	}
	return []maker{
		{"SOCKS5 of the lab", socks(hubHost), nil, func(h *household) (*job, error) {
			return h.helper(h.hub, "socks", task{Kind: "socks", Address: ":" + strconv.Itoa(socksPort)})
		}, slices.Concat(both, rest)},
		{"microsocks under mptcpize", socks(hubHost), []string{"microsocks", "mptcpize"}, micro(), slices.Concat(both, rest[:2])},
		{"microsocks with a password", socks("me:secret@" + hubHost), []string{"microsocks", "mptcpize"}, micro("-u", "me", "-P", "secret"), rest[:1]},
		{"Convert", "convert://" + hubHost + ":" + strconv.Itoa(convertPort), nil, func(h *household) (*job, error) {
			return h.start(h.hub, "convert", h.asNobody("tandem-hub", "convert", "--listen", ":"+strconv.Itoa(convertPort))...)
		}, slices.Concat(both, rest, []trial{
			{"what is asked rides in the SYN", "taken", ridesEarly},
			{"what rides in the SYN is not taken any more", "the proxy, then the laptop itself", notTaken},
			{"bypass", "the proxy, then the laptop itself", bypass},
		})},
	}
}

// runNative tries proxies of other makes with the laptop's daemon, whose segments leave the links as they are.
func runNative(ctx context.Context, t *table, only string) error {
	if err := runMakers(ctx, t, makers(), only); err != nil {
		return err
	}
	return runImplicit(ctx, t, passersBy(), only)
}

// runMakers makes a household and tries what each proxy has, as far as the names of both contain only.
func runMakers(ctx context.Context, t *table, all []maker, only string) error {
	for i := range all {
		m := &all[i]
		m.trials = slices.DeleteFunc(slices.Clone(m.trials), func(c trial) bool { return !strings.Contains(m.name+", "+c.name, only) })
	}
	all = slices.DeleteFunc(all, func(m maker) bool { return len(m.trials) == 0 })
	if len(all) == 0 {
		return nil
	}
	h := &household{}
	defer h.close()
	if err := h.build(ctx); err != nil {
		return err
	}
	if err := errors.Join(h.watchPorts(), h.serveAgain(ctx, false)); err != nil {
		return err
	}
	for _, m := range all {
		if err := h.tryMaker(ctx, t, m); err != nil {
			return err
		}
	}
	return nil
}

// tryMaker runs the rows of one proxy, and at last sees that the kernel did not meddle.
func (h *household) tryMaker(ctx context.Context, t *table, m maker) error {
	for _, program := range m.needs {
		if _, err := exec.LookPath(program); err != nil {
			t.add(row{name: m.name, verdict: skip, why: "needs " + program})
			return nil
		}
	}
	proxy, err := m.start(h)
	if err != nil {
		return err
	}
	defer proxy.stop()
	h.clientJob, err = h.start(h.laptop, "client", h.path("tandem"), "run", "--state", h.path("native"), "--socket", h.socket(),
		"--links", "wlan0,wwan0", "--hub", m.url, "-v")
	if err != nil {
		return err
	}
	defer h.clientJob.stop()
	if err := h.countAnew(ctx); err != nil {
		return err
	}
	for _, c := range append(m.trials, trial{"the kernel's part in it", "no segment", h.kernelSilent}) {
		r := row{name: m.name + ", " + c.name, limit: c.limit, verdict: pass}
		limited, cancel := context.WithTimeout(ctx, trialTime)
		err := h.connected(limited, "wlan0", "wwan0")
		if err == nil {
			r.figure, err = c.run(limited, h)
		}
		cancel()
		if ctx.Err() != nil {
			return errInterrupted
		}
		if err != nil {
			r.verdict, r.why = fail, strings.ReplaceAll(err.Error(), "\n", "; ")+" (logs in "+h.dir+")"
			h.keep = true
		}
		h.keep = h.keep || t.keep
		t.add(r)
	}
	return nil
}

// serveAgain has the web host speak Multipath TCP, or not.
func (h *household) serveAgain(ctx context.Context, multipath bool) (err error) {
	enabled := 0
	if multipath {
		enabled = 1
	}
	err = errors.Join(h.webJob.stop(), h.web.sysctl(fmt.Sprintf("net.mptcp.enabled=%d", enabled)))
	if err != nil {
		return err
	}
	if h.webJob, err = h.helper(h.web, "web", task{Kind: "serve"}); err != nil {
		return err
	}
	starting, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	return h.webJob.await(starting, "ready")
}

// watchPorts counts what leaves the laptop's links from the daemon's ports and is not marked as the daemon's packets are.
func (h *household) watchPorts() error {
	cmd := h.laptop.command(context.Background(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(`table inet watch {
		counter others { }
		chain out { type filter hook output priority 0;
			oifname { "wlan0", "wwan0" } tcp sport 61000-65095 meta mark & 0xffff0000 != 0x7a0000 counter name others
		}
	}`)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	return nil
}

// countAnew begins the count once the daemon has its ports: what came late for the one before, when they were nobody's, does
// not count.
func (h *household) countAnew(ctx context.Context) error {
	starting, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := h.connected(starting, "wlan0", "wwan0"); err != nil {
		return err
	}
	_, err := h.must(ctx, h.laptop, "nft", "reset", "counter", "inet", "watch", "others")
	return err
}

// kernelSilent: the kernel has answered nothing that came for the daemon's ports.
func (h *household) kernelSilent(ctx context.Context, _ *household) (string, error) {
	out, err := h.must(ctx, h.laptop, "nft", "list", "counter", "inet", "watch", "others")
	fields := strings.Fields(out)
	if i := slices.Index(fields, "packets"); err == nil && (i < 0 || fields[i+1] != "0") {
		err = fmt.Errorf("%q", strings.Join(fields, " "))
	}
	return "", err
}

func download0(ctx context.Context, h *household) (time.Duration, error) {
	return h.fetch(ctx, webHost, 3, transfer)
}

func upload0(ctx context.Context, h *household) (time.Duration, error) { return h.push(ctx, transfer) }

// bothLinks judges a transfer by its rate and by what each link had of it.
func bothLinks(move func(context.Context, *household) (time.Duration, error)) func(context.Context, *household) (string, error) {
	return func(ctx context.Context, h *household) (string, error) {
		before := h.forwarded()
		took, err := move(ctx, h)
		if err != nil {
			return "", err
		}
		after := h.forwarded()
		first, second := float64(after[0]-before[0]), float64(after[1]-before[1])
		rate := transfer * octetBits / took.Seconds()
		figure := fmt.Sprintf("%.1f Mbit/s, %.3f of the sum, %.0f %% + %.0f %%", rate/1e6, rate/sumRate,
			100*first/(first+second), 100*second/(first+second))
		switch {
		case rate < nativeShare*sumRate:
			err = errors.New("too slow")
		case min(first, second) < nativeLeast*(first+second):
			err = errors.New("one link had too little of it")
		}
		return figure, err
	}
}

// whoAsks: the web host is asked by that address.
func whoAsks(want string) func(context.Context, *household) (string, error) {
	return func(ctx context.Context, h *household) (string, error) {
		out, err := h.must(ctx, h.laptop, "curl", "-sS", url(webHost, "/who"))
		if got := strings.TrimSpace(out); err == nil && got != want {
			err = fmt.Errorf("asked by %s, not %s", got, want)
		}
		return strings.TrimSpace(out), err
	}
}

// allowed: of several SYNs that ask for one connection all but one end with a reset; an MP_JOIN is rejected if the connection
// ends before the third ACK of the join has come; and the proxy asks the web host, too, whether it speaks Multipath TCP.
var allowed = []string{"MPFastcloseRx", "MPRstRx", "MPJoinRejected", "MPRstTx", "MPCapableFallbackSYNACK"}

// onTheWire: the proxy's kernel has taken both subflows of a connection, and seen nothing that it did not like.
func onTheWire(ctx context.Context, h *household) (string, error) {
	before, err := readCounters(ctx, h.hub)
	if err != nil {
		return "", err
	}
	if _, err := h.fetch(ctx, webHost, 10, 5e6); err != nil {
		return "", err
	}
	after, err := readCounters(ctx, h.hub)
	if err != nil {
		return "", err
	}
	delta := counters{}
	for name, n := range after {
		delta[name] = n - before[name]
	}
	return fmt.Sprintf("MP_CAPABLE %d, MP_JOIN %d", delta["MPCapableACKRX"], delta["MPJoinAckRx"]),
		delta.check([]string{"MPCapableACKRX", "MPJoinAckRx"}, allowed)
}

// cutNative cuts the faster link in the middle of a download, for a while.
func cutNative(ctx context.Context, h *household) (string, error) {
	const n = 60e6
	cut := make(chan error, 1)
	go func() {
		err := sleep(ctx, 1500*time.Millisecond)
		h.silence(true, 0)
		err = errors.Join(err, sleep(ctx, 4*time.Second))
		h.silence(false, 0)
		cut <- err
	}()
	took, err := h.fetch(ctx, webHost, 9, n)
	return fmt.Sprintf("%.1f s", took.Seconds()), errors.Join(err, <-cut)
}

// ridesEarly: the converter's kernel has taken octets with a SYN.
func ridesEarly(ctx context.Context, h *household) (string, error) {
	const name = "TcpExtTCPFastOpenPassive"
	defer h.hub.sysctl("net.ipv4.tcp_fastopen=1")
	if err := errors.Join(h.hub.sysctl("net.ipv4.tcp_fastopen=3"), h.anotherChance(ctx)); err != nil {
		return "", err
	}
	before, err := readCounters(ctx, h.hub)
	if err != nil {
		return "", err
	}
	for range 3 {
		if _, err := whoAsks(hubHost)(ctx, h); err != nil {
			return "", err
		}
	}
	after, err := readCounters(ctx, h.hub)
	n := after[name] - before[name]
	if err == nil && n == 0 {
		err = errors.New(name + " is 0")
	}
	return fmt.Sprintf("%d of 3 connections", n), err
}

// notTaken: a converter to which octets of SYNs arrived is not asked any more when they do not (RFC 8803 8). Links that come
// again give it another chance.
func notTaken(ctx context.Context, h *household) (string, error) {
	at := func() (string, error) {
		out, err := h.must(ctx, h.laptop, "curl", "-sS", url(web4+"3", "/who"))
		return strings.TrimSpace(out), err
	}
	if err := errors.Join(h.hub.sysctl("net.ipv4.tcp_fastopen=3"), h.anotherChance(ctx)); err != nil {
		return "", err
	}
	first, err := at()
	err = errors.Join(err, h.hub.sysctl("net.ipv4.tcp_fastopen=1"))
	if err != nil {
		return "", err
	}
	second, err := at()
	err = errors.Join(err, h.anotherChance(ctx))
	if err == nil && (first != hubHost || second != web4+"1") {
		err = errors.New("not so")
	}
	return first + ", " + second, err
}

// anotherChance has a link come again, for which the daemon forgets what it knows of the converter.
func (h *household) anotherChance(ctx context.Context) error {
	return errors.Join(h.laptop.ip("link set "+laptopLinks[1].device+" down"), h.connected(ctx, "wlan0"), h.plugIn(1),
		h.connected(ctx, "wlan0", "wwan0"))
}

// bypass: a server that speaks Multipath TCP is asked for through the converter once, and directly from then on.
func bypass(ctx context.Context, h *household) (string, error) {
	if err := h.serveAgain(ctx, true); err != nil {
		return "", err
	}
	defer h.serveAgain(ctx, false)
	first, err := whoAsks(hubHost)(ctx, h)
	if err != nil {
		return "", err
	}
	second, err := whoAsks(web4+"1")(ctx, h) // as the router translates it
	return first + ", " + second, err
}

// runSOCKS is a SOCKS5 proxy for whoever comes.
func runSOCKS(ctx context.Context, t task, _ io.Writer) (a account, err error) {
	l, err := net.Listen("tcp", t.Address) // of Multipath TCP, as is Go's default
	if err != nil {
		return a, err
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	attend(l, func(c *net.TCPConn) { socksTalk(c) })
	return a, nil
}

// socksTalk answers one client, of which it reads no octet more than it understands.
func socksTalk(c *net.TCPConn) error {
	head := make([]byte, 2)
	if _, err := io.ReadFull(c, head); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, make([]byte, head[1])); err != nil {
		return err
	}
	c.Write([]byte{5, 0})
	ask := make([]byte, 4+16+2)
	if _, err := io.ReadFull(c, ask[:4]); err != nil {
		return err
	}
	length := 4
	if ask[3] == 4 {
		length = 16
	}
	if _, err := io.ReadFull(c, ask[4:4+length+2]); err != nil {
		return err
	}
	addr, _ := netip.AddrFromSlice(ask[4 : 4+length])
	target := netip.AddrPortFrom(addr, binary.BigEndian.Uint16(ask[4+length:]))
	reply := []byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	if ask[1] != 1 || ask[3] != 1 && ask[3] != 4 {
		reply[1] = 7
		c.Write(reply)
		return nil
	}
	out, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(target))
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		reply[1] = 5
	case errors.Is(err, syscall.EHOSTUNREACH):
		reply[1] = 4
	case err != nil:
		reply[1] = 1
	}
	c.Write(reply)
	if err != nil {
		return err
	}
	join(c, out)
	return nil
}

// join copies both ways. An end becomes an end, anything else a reset.
func join(a, b *net.TCPConn) {
	defer b.Close()
	back := make(chan struct{})
	go func() {
		carry(b, a)
		close(back)
	}()
	carry(a, b)
	<-back
}

func carry(from, to *net.TCPConn) {
	if _, err := io.CopyBuffer(onlyWriter{to}, onlyReader{from}, make([]byte, 64<<10)); err != nil {
		from.SetLinger(0)
		to.SetLinger(0)
		from.Close()
		to.Close()
		return
	}
	to.CloseWrite()
}

// onlyReader hides what else a reader can.
type onlyReader struct{ io.Reader }
