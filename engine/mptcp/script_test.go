package mptcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// The keys, nonces and codes of the examples: A is the end that dials, B the one that answers.
const (
	keyA, keyB     = 0x0102030405060708, 0x1112131415161718
	nonceA, nonceB = 0xaabbccdd, 0x01234567

	tokenA, tokenB = "66840dda", "ccad45ac"
	macA           = "5a9926baa64667a915ecb36829022bf5ebc0c2fb"
	macB           = "dcac2119689b29a8"

	idsnA, idsnB wire.DSN = 0xf5a101d3d29d6f72, 0x535beea38e087c8e

	peerISS wire.Seq = 0x7fffff00
)

const (
	ms     = time.Millisecond
	second = time.Second
)

// names makes lines short: what stands on the left is written for what stands on the right.
var names = strings.NewReplacer(
	"key-A", fmt.Sprintf("%016x", uint64(keyA)), "key-B", fmt.Sprintf("%016x", uint64(keyB)),
	"token-A", tokenA, "token-B", tokenB,
	"mac-A", macA, "mac-B", macB,
	"nonce-A", "aabbccdd", "nonce-B", "01234567",
)

// target is what A dials, and a machine of B's with the same port on each of its paths.
var target = netip.MustParseAddrPort("10.9.0.1:80")

// script plays the peer of a bond with lines such as
//
//	1 P. 1 ack 6 "hello" <dss ack8 6 map4 1 ssn 1 len 5>
//
// which begin with the path. Sequence numbers count from each side's SYN, data sequence numbers from
// each side's IDSN, so the first octet has 1 in both. Options of TCP and PSH (P) are left out.
type script struct {
	t    *testing.T
	now  clock.Time
	b    *Bond
	c    *Conn
	own  wire.DSN // IDSNs
	peer wire.DSN
	iss  wire.Seq // of every subflow of the bond
	ends map[PathID]*tuple
	out  []string // left during advance
	last wire.Segment
	buf  []byte
	lane func(id PathID, pkt []byte) // takes what leaves on the control lane
}

// tuple is the addresses of the latest subflow of a path, seen from the bond.
type tuple struct{ local, remote netip.AddrPort }

// fixed is an entropy that gives known keys to connections, and one number for everything else.
type fixed struct {
	epoch bool // the first key is the control lane's
	key   uint64
	nonce uint32
	id    byte // that was drawn last for an address, less one
}

func (e *fixed) Read(p []byte) (int, error) {
	switch {
	case len(p) == 1:
		e.id += 2
		p[0] = e.id + 1
	case len(p) == 4:
		binary.BigEndian.PutUint32(p, e.nonce)
	case e.epoch:
		e.epoch = false
		binary.BigEndian.PutUint64(p, 0xe0c4)
	default:
		binary.BigEndian.PutUint64(p, e.key)
		e.key++
	}
	return len(p), nil
}

// newScript returns a bond that dials (A) or answers (B), with some paths.
func newScript(t *testing.T, dials bool, cfg Config, paths int) *script {
	s := &script{
		t: t, now: clock.Time(second), ends: make(map[PathID]*tuple), buf: make([]byte, 1500),
		own: idsnA, peer: idsnB, iss: nonceA,
	}
	e := &fixed{epoch: cfg.Paired, key: keyA, nonce: nonceA}
	if !dials {
		s.own, s.peer, s.iss = idsnB, idsnA, nonceB
		e.key, e.nonce = keyB, nonceB
	}
	cfg.Strict = true
	if cfg.Establish == Auto {
		// One path at a time: what these scripts are about begins when there is an answer.
		if cfg.Establish = Classic; cfg.Paired {
			cfg.Establish = Timer
		}
	}
	cfg.Entropy = e
	if cfg.Control == "" {
		cfg.Control = "cubic"
	}
	s.b = NewBond(cfg)
	for i := range paths {
		s.attach(PathID(i), dials)
	}
	return s
}

func (s *script) attach(id PathID, dials bool) {
	local := netip.AddrFrom4([4]byte{10, 0, byte(id), 1})
	s.ends[id] = &tuple{netip.AddrPortFrom(local, 0), target}
	if !dials {
		local = netip.AddrFrom4([4]byte{10, 9, byte(id), 1})
		s.ends[id] = &tuple{netip.AddrPortFrom(local, 80), netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 8, 0, byte(id + 1)}), 5000)}
	}
	s.b.Attach(s.now, id, PathConfig{Local4: local})
}

// dialling returns a bond that has dialled and not sent its SYN.
func dialling(t *testing.T, cfg Config, paths int) *script {
	t.Helper()
	s := newScript(t, true, cfg, paths)
	s.dial(DialOptions{})
	return s
}

func (s *script) dial(opt DialOptions) {
	s.t.Helper()
	c, err := s.b.Dial(s.now, target, opt)
	if err != nil {
		s.t.Fatal(err)
	}
	s.c = c
}

// dialled returns the dialling end after its third ACK, which took 100 ms.
func dialled(t *testing.T, cfg Config, paths int) *script {
	t.Helper()
	s := dialling(t, cfg, paths)
	s.skip()
	s.advance(100 * ms)
	flags := "01"
	if cfg.Checksum {
		flags = "81"
	}
	s.recv("0 S. 0 ack 1 <capable v1 flags " + flags + " key-B>")
	s.want("0 . 1 ack 1 <capable v1 flags " + flags + " key-A key-B>")
	s.changed(Established)
	return s
}

// agreed returns the dialling end after the peer has confirmed the third ACK; its further paths, if
// any, have sent MP_JOIN and wait.
func agreed(t *testing.T, cfg Config, paths int) *script {
	t.Helper()
	s := dialled(t, cfg, paths)
	s.recv("0 . 1 ack 1 <dss ack8 1>")
	for i := 1; i < paths && !cfg.Passive; i++ {
		s.line(fmt.Sprintf("%d S 0 <join id %d token token-B nonce nonce-A>", i, 2*i+1))
	}
	s.want()
	return s
}

// joined returns the dialling end with all its paths in use.
func joined(t *testing.T, cfg Config, paths int) *script {
	t.Helper()
	s := agreed(t, cfg, paths)
	s.advance(100 * ms)
	for i := 1; i < paths; i++ {
		s.join(i)
	}
	return s
}

// join answers the MP_JOIN of a path.
func (s *script) join(path int) {
	s.t.Helper()
	s.recv(fmt.Sprintf("%d S. 0 ack 1 <join id 0 mac mac-B nonce nonce-B>", path))
	s.want(fmt.Sprintf("%d . 1 ack 1 <join mac mac-A>", path))
	s.recv(fmt.Sprintf("%d . 1 ack 1 <dss ack8 1>", path))
	s.want()
}

// offered returns the answering end after a SYN came, whose offer it has not answered.
func offeredTo(t *testing.T, cfg Config, paths int, syn string) *script {
	t.Helper()
	s := newScript(t, false, cfg, paths)
	s.b.Listen(80)
	s.recv(syn)
	c, what, ok := s.b.Next()
	if !ok || what&^Readable != Offered {
		t.Fatalf("%v %v after the SYN", what, ok)
	}
	s.c = c
	return s
}

// answering returns the answering end after its SYN/ACK.
func answering(t *testing.T, cfg Config, paths int) *script {
	t.Helper()
	flags := "01"
	if cfg.Checksum {
		flags = "81"
	}
	s := offeredTo(t, cfg, paths, "0 S 0 <capable v1 flags "+flags+">")
	s.accept()
	if cfg.NoJoinsHere {
		flags = "21"
	}
	s.want("0 S. 0 ack 1 <capable v1 flags " + flags + " key-B>")
	s.advance(100 * ms)
	return s
}

func (s *script) accept() {
	s.t.Helper()
	if err := s.c.Accept(s.now); err != nil {
		s.t.Fatal(err)
	}
}

// answered returns the answering end after the third ACK.
func answeredBy(t *testing.T, cfg Config, paths int) *script {
	t.Helper()
	s := answering(t, cfg, paths)
	flags := "01"
	if cfg.Checksum {
		flags = "81"
	}
	s.recv("0 . 1 ack 1 <capable v1 flags " + flags + " key-A key-B>")
	s.changed(Established)
	s.want()
	return s
}

// asked returns the answering end after an MP_JOIN over each further path.
func askedToJoin(t *testing.T, cfg Config, paths int) *script {
	t.Helper()
	s := answeredBy(t, cfg, paths)
	for i := 1; i < paths; i++ {
		s.recv(fmt.Sprintf("%d S 0 <join id %d token token-B nonce nonce-A>", i, i))
		s.want(fmt.Sprintf("%d S. 0 ack 1 <join id %d mac mac-B nonce nonce-B>", i, 2*i+1))
		s.recv(fmt.Sprintf("%d . 1 ack 1 <join mac mac-A>", i))
		s.want(fmt.Sprintf("%d . 1 ack 1 <dss ack4 1>", i))
	}
	return s
}

// recv has the bond receive the segment in each line.
func (s *script) recv(lines ...string) {
	s.t.Helper()
	for _, line := range lines {
		path, seg := s.parse(line)
		s.b.Receive(s.now, path, seg.Append(nil))
	}
}

// line adds one to those that the next want expects, in whatever it is given.
func (s *script) line(text string) { s.t.Helper(); s.expect(text) }

// expect drains one segment and compares.
func (s *script) expect(line string) {
	s.t.Helper()
	s.collect()
	if len(s.out) == 0 {
		s.t.Fatalf("missing: %s\n%s", line, s.story())
	}
	s.compare(s.out[0], line)
	s.out = s.out[1:]
}

func (s *script) compare(got, want string) {
	s.t.Helper()
	want = strings.Replace(names.Replace(want), " P. ", " . ", 1)
	if i := strings.Index(got, " win "); i >= 0 && !strings.Contains(want, " win ") {
		rest := strings.SplitN(got[i+5:], " ", 2)
		got = got[:i]
		if len(rest) == 2 {
			got += " " + rest[1]
		}
	}
	if got != want {
		s.t.Fatalf("\n got %s\nwant %s\n%s", got, want, s.story())
	}
}

func (s *script) story() string {
	if s.c == nil {
		return ""
	}
	return s.c.Trace()
}

// want fails unless just these segments left since the last want.
func (s *script) want(lines ...string) {
	s.t.Helper()
	for _, line := range lines {
		s.expect(line)
	}
	s.collect()
	if len(s.out) > 0 {
		s.t.Fatalf("too much: %s\n%s", strings.Join(s.out, "\n"), s.story())
	}
}

// skip forgets what left.
func (s *script) skip() { s.collect(); s.out = nil }

// left returns what left.
func (s *script) left() []string {
	s.collect()
	out := s.out
	s.out = nil
	return out
}

// collect has everything leave that may.
func (s *script) collect() {
	s.t.Helper()
	for range 2000 {
		id, pkt, ok := s.b.Transmit(s.now, s.buf)
		if !ok {
			return
		}
		if err := s.last.Parse(pkt); err != nil {
			if errors.Is(err, wire.ErrNotTCP) && s.lane != nil {
				s.lane(id, pkt)
				continue
			}
			s.t.Fatal(err)
		}
		if s.last.Flags&(wire.SYN|wire.ACK) == wire.SYN {
			s.ends[id] = &tuple{s.last.Source, s.last.Target}
		}
		s.out = append(s.out, s.print(id, &s.last))
	}
	s.t.Fatalf("does not stop: %s", strings.Join(s.out[len(s.out)-10:], "\n"))
}

// advance lets time pass; what falls due happens at its time.
func (s *script) advance(d time.Duration) {
	s.t.Helper()
	end := s.now.Add(d)
	for range 20000 {
		s.collect()
		next := max(s.b.Deadline(), s.now)
		if next > end {
			s.now = end
			return
		}
		s.now = next
		s.b.Advance(s.now)
	}
	s.t.Fatalf("time does not pass\n%s", s.story())
}

func (s *script) write(text string) {
	s.t.Helper()
	if n, err := s.c.Write([]byte(text)); n != len(text) || err != nil {
		s.t.Fatalf("wrote %d of %d: %v", n, len(text), err)
	}
	s.c.Poke(s.now)
}

// read fails unless just that text can be read.
func (s *script) read(want string) {
	s.t.Helper()
	got, _ := s.take()
	if got != want {
		s.t.Fatalf("read %.60q (%d), want %.60q (%d)\n%s", got, len(got), want, len(want), s.story())
	}
}

// readEnd fails unless nothing but an end can be read.
func (s *script) readEnd(want error) {
	s.t.Helper()
	if got, err := s.take(); got != "" || err != want {
		s.t.Fatalf("read %.60q, %v, want %v\n%s", got, err, want, s.story())
	}
}

func (s *script) take() (string, error) {
	var all []byte
	for range 10000 {
		p := make([]byte, 4096)
		n, err := s.c.Read(p)
		all = append(all, p[:n]...)
		if n == 0 {
			s.c.Poke(s.now)
			return string(all), err
		}
	}
	s.t.Fatal("reading does not end")
	return "", nil
}

// changed fails unless Next tells just that of the connection.
func (s *script) changed(want Change) {
	s.t.Helper()
	c, what, ok := s.b.Next()
	if !ok || c != s.c || what != want {
		s.t.Fatalf("changed: %b %v, want %b\n%s", what, ok, want, s.story())
	}
}

// over fails unless the connection has ended for a reason.
func (s *script) over(why error) {
	s.t.Helper()
	if s.c.phase != over || s.c.Err() != why {
		s.t.Fatalf("phase %d, error %v, want %v\n%s", s.c.phase, s.c.Err(), why, s.story())
	}
}

// living fails unless the connection is open, with that many subflows.
func (s *script) living(subflows int) {
	s.t.Helper()
	if s.c.phase != open || len(s.c.subflows) != subflows {
		s.t.Fatalf("phase %d, %d subflows, want %d\n%s", s.c.phase, len(s.c.subflows), subflows, s.story())
	}
}
