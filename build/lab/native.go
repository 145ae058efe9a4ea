package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	socksPort   = 1080
	convertPort = 8803

	// nativeShare is what of both links together one connection gets, and nativeLeast what each link carries of that.
	nativeShare = 0.9
	nativeLeast = 0.15
)

// natives are proxies of other makes, which run where the hub does.
func natives() []stage {
	both := []trial{
		overBoth("200 MB down", transfer, nativeShare*sumRate, fetches),
		overBoth("200 MB up", transfer, nativeShare*sumRate, pushes),
	}
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
	programs := []string{"microsocks", "mptcpize"}
	converter := "convert://" + hubHost + ":" + strconv.Itoa(convertPort)
	convert := func(args ...string) func(h *household) (*job, error) {
		return func(h *household) (*job, error) {
			return h.start(h.hub, "convert", h.asNobody("tandem-hub", append([]string{"convert", "--listen", ":" + strconv.Itoa(convertPort)}, args...)...)...)
		}
	}
	return []stage{
		native("SOCKS5 of the lab", socks(hubHost), nil, func(h *household) (*job, error) {
			return h.helper(h.hub, "socks", task{Kind: "socks", Address: ":" + strconv.Itoa(socksPort)})
		}, both, rest),
		native("microsocks under mptcpize", socks(hubHost), programs, micro(), both, rest[:2]),
		native("microsocks with a password", socks("me:secret@"+hubHost), programs, micro("-u", "me", "-P", "secret"), rest[:1]),
		native("Convert", converter, nil, convert(), both, rest, []trial{
			{"what is asked rides in the SYN", "taken", ridesEarly(askThrice)},
			{"round trips to a connection", fmt.Sprintf("≤ 1.2 of %d ms", tripAway.Milliseconds()), ridesEarly(connectsAtOnce)},
			{"a SYN that comes twice", "the server asked once", ridesEarly(askedOnce)},
			{"asked for by a SYN and no more", "the server sent one SYN", ridesEarly(nobodyAsks)},
			{"asked for in the SYN, read after 3 s", "40 MB in 10 s", ridesEarly(readLate)},
			{"reset while idle", "an error, MP_FASTCLOSE", resetIdle},
			{"teardown", "RST, MP_FASTCLOSE twice, one subflow alone", teardown},
			// From here on the laptop knows better than to ask the converter for all.
			{"what rides in the SYN is not taken any more", "the proxy, then the laptop itself", notTaken},
			{"bypass", "the proxy, then the laptop itself", bypass},
		}),
		native("Convert with cookies", converter, nil, convert("--cookies"), []trial{
			{"page of 60 objects", "every digest", page},
			{"one link cut for 4 s in mid-transfer", "digest", cutNative},
			{"who asks", "the proxy", whoAsks(hubHost)},
		}),
	}
}

// runNative tries proxies of other makes with the laptop's daemon, whose segments leave the links as they are, and at last the
// one that nobody knows.
func runNative(ctx context.Context, t *table, only string) error {
	return runStages(ctx, t, only, append(natives(), implicit())...)
}

// native is the stage of a proxy that the laptop's daemon asks over its links. At last the kernel must not have meddled.
func native(name, url string, needs []string, start func(h *household) (*job, error), trials ...[]trial) stage {
	set := func(ctx context.Context, h *household) (func(), error) {
		if err := h.serveAgain(ctx, false); err != nil {
			return nil, err
		}
		proxy, err := start(h)
		if err != nil {
			return nil, err
		}
		h.clientJob, err = h.start(h.laptop, "client", h.path("tandem"), "run", "--state", h.path("native"), "--socket", h.socket(),
			"--links", "wlan0,wwan0", "--hub", url, "-v")
		if err != nil {
			return func() { proxy.stop() }, err
		}
		starting, cancel := context.WithTimeout(ctx, startTime)
		defer cancel()
		return func() { h.clientJob.stop(); proxy.stop() }, errors.Join(h.connected(starting, "wlan0", "wwan0"), h.watchPorts())
	}
	return stage{
		name: name, needs: needs, set: set, trials: slices.Concat(trials...),
		ready: func(ctx context.Context, h *household) error { return h.connected(ctx, "wlan0", "wwan0") },
		last:  &trial{"the kernel's part in it", "no segment", kernelSilent},
	}
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

// watchPorts counts from now on what leaves the laptop's links from the daemon's ports and is not marked as the daemon's packets
// are. What came late for a daemon before, when the ports were nobody's, does not count.
func (h *household) watchPorts() error {
	return h.laptop.nft(`table inet watch { }
	delete table inet watch
	table inet watch {
		counter others { }
		chain out { type filter hook output priority 0;
			oifname { "wlan0", "wwan0" } tcp sport 61000-65095 meta mark & 0xffff0000 != 0x7a0000 counter name others
		}
	}`)
}

// kernelSilent: the kernel has answered nothing that came for the daemon's ports.
func kernelSilent(ctx context.Context, h *household) (string, error) {
	out, err := h.must(ctx, h.laptop, "nft", "list", "counter", "inet", "watch", "others")
	fields := strings.Fields(out)
	if i := slices.Index(fields, "packets"); err == nil && (i < 0 || fields[i+1] != "0") {
		err = fmt.Errorf("%q", strings.Join(fields, " "))
	}
	return "", err
}

func fetches(ctx context.Context, h *household, n int64) (time.Duration, error) {
	return h.fetch(ctx, webHost, 3, n)
}

func pushes(ctx context.Context, h *household, n int64) (time.Duration, error) { return h.push(ctx, n) }

// overBoth judges a transfer of n octets by its rate, in bits a second, and by what each link had of it.
func overBoth(name string, n int64, least float64, move func(context.Context, *household, int64) (time.Duration, error)) trial {
	return trial{name, fmt.Sprintf("≥ %.1f Mbit/s, digest, links ≥ %.0f %%", least/1e6, 100*nativeLeast), func(ctx context.Context, h *household) (string, error) {
		before := h.forwarded()
		took, err := move(ctx, h, n)
		if err != nil {
			return "", err
		}
		after := h.forwarded()
		first, second := float64(after[0]-before[0]), float64(after[1]-before[1])
		rate := float64(n) * octetBits / took.Seconds()
		var w wrong
		w.unless(rate >= least, "too slow")
		w.unless(min(first, second) >= nativeLeast*(first+second), "one link had too little of it")
		return fmt.Sprintf("%.1f Mbit/s, %.3f of the sum, %.0f %% + %.0f %%", rate/1e6, rate/sumRate,
			100*first/(first+second), 100*second/(first+second)), w.err()
	}}
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
	grown, err := growth(ctx, h.hub, func() error {
		_, err := h.fetch(ctx, webHost, 10, 5e6)
		return err
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("MP_CAPABLE %d, MP_JOIN %d", grown["MPCapableACKRX"], grown["MPJoinAckRx"]),
		grown.check([]string{"MPCapableACKRX", "MPJoinAckRx"}, allowed)
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

// ridesEarly: the converter's kernel has taken octets with the SYNs of what is tried. When it does so no longer, another chance
// has the daemon go on asking it.
func ridesEarly(try func(context.Context, *household) (string, error)) func(context.Context, *household) (string, error) {
	return func(ctx context.Context, h *household) (figure string, err error) {
		const name = "TcpExtTCPFastOpenPassive"
		defer func() { err = errors.Join(err, h.hub.sysctl("net.ipv4.tcp_fastopen=1"), h.anotherChance(ctx)) }()
		if err := errors.Join(h.hub.sysctl("net.ipv4.tcp_fastopen=3"), h.anotherChance(ctx)); err != nil {
			return "", err
		}
		grown, err := growth(ctx, h.hub, func() (err error) {
			figure, err = try(ctx, h)
			return err
		})
		if err == nil && grown[name] == 0 {
			err = errors.New(name + " is 0")
		}
		return fmt.Sprintf("%s, %d SYNs taken", figure, grown[name]), err
	}
}

func askThrice(ctx context.Context, h *household) (string, error) {
	for range 3 {
		if _, err := whoAsks(hubHost)(ctx, h); err != nil {
			return "", err
		}
	}
	return "3 connections", nil
}

// readLate: while nobody reads, the proxy's kernel sends as much as the window lets it and no more, which it would have to send
// again.
func readLate(ctx context.Context, h *household) (string, error) {
	const seed, n = 8, 40e6
	start := time.Now()
	out, err := h.must(ctx, h.laptop, "bash", "-c", "set -o pipefail; curl -sS "+url(webHost, "/octets/%d/%d", seed, int64(n))+" | (sleep 3; sha256sum)")
	took := time.Since(start)
	if err == nil && !strings.HasPrefix(out, digest(seed, n)) {
		err = errors.New("wrong digest")
	}
	if err == nil && took > 10*time.Second {
		err = errors.New("too slow")
	}
	return fmt.Sprintf("%.1f s", took.Seconds()), err
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

// resetIdle: the proxy's kernel says of a connection on which nothing is under way that it was reset, not that it has ended.
func resetIdle(ctx context.Context, h *household) (string, error) {
	var said saying
	grown, err := growth(ctx, h.hub, func() (err error) {
		said, err = h.ask(ctx, h.laptop, "bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%d; echo hello >&3; cat <&3", webHost, fallPort))
		return err
	})
	if err == nil && (said.code == 0 || said.out != "hello\n") {
		err = fmt.Errorf("%q, and it ended with %d: %s", said.out, said.code, said.err)
	}
	if err == nil && grown["MPFastcloseTx"] == 0 {
		err = errors.New("MPFastcloseTx is 0")
	}
	return fmt.Sprintf("MP_FASTCLOSE %d", grown["MPFastcloseTx"]), err
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
