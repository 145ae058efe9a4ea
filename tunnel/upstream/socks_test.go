package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tandem/tunnel/relay"
)

func TestSOCKSRequests(t *testing.T) {
	for _, c := range []struct {
		target Target
		want   []byte // behind VER CMD RSV
	}{
		{TargetOf(target4), []byte{1, 192, 0, 2, 1, 1, 0xbb}},
		{TargetOf(netip.MustParseAddrPort("[::ffff:192.0.2.1]:443")), []byte{1, 192, 0, 2, 1, 1, 0xbb}},
		{TargetOf(target6), append(append([]byte{4}, target6.Addr().AsSlice()...), 1, 0xbb)},
		{TargetOf(netip.MustParseAddrPort("[2001:db8::1%eth0]:443")), append(append([]byte{4}, target6.Addr().AsSlice()...), 1, 0xbb)},
		{Target{Name: "example.org", Port: 80}, append(append([]byte{3, 11}, "example.org"...), 0, 80)},
	} {
		got := appendRequest(nil, commandConnect, c.target)
		if want := append([]byte{5, 1, 0}, c.want...); !bytes.Equal(got, want) {
			t.Errorf("%+v: % x, want % x", c.target, got, want)
		}
	}
	if got := appendPassword(nil, "me", "secret"); string(got) != "\x01\x02me\x06secret" {
		t.Errorf("password: % x", got)
	}
	if err := (Target{Name: strings.Repeat("a", 256)}).check(); err == nil {
		t.Error("a name too long is taken")
	}
	if err := (Target{}).check(); err == nil {
		t.Error("no target is taken")
	}
}

// The reply is read to its last octet, whatever the type of its address is.
func TestSOCKSReplyIsReadWhole(t *testing.T) {
	for _, reply := range [][]byte{
		append([]byte{5, 0, 0, 1}, make([]byte, 6)...),
		append([]byte{5, 0, 0, 4}, make([]byte, 18)...),
		append([]byte{5, 0, 0, 3, 3}, "abc\x00\x50"...),
		{5, 0, 0, 3, 0, 0, 80},
	} {
		r := bytes.NewReader(append(slices.Clone(reply), "data"...))
		if err := readReply(r); err != nil {
			t.Errorf("% x: %v", reply, err)
		}
		if rest, _ := io.ReadAll(r); string(rest) != "data" {
			t.Errorf("% x leaves %q", reply, rest)
		}
		for n := range reply {
			if err := readReply(bytes.NewReader(reply[:n])); err != io.ErrUnexpectedEOF {
				t.Errorf("% x cut to %d: %v", reply, n, err)
			}
		}
	}
	for _, reply := range [][]byte{{4, 0, 0, 1, 0}, {5, 0, 0, 2, 0}, []byte("HTTP/1.1 400")} {
		if err := readReply(bytes.NewReader(reply)); err != ErrNotSOCKS {
			t.Errorf("% x: %v", reply, err)
		}
	}
}

// Each reply is told to the application as what connect would have said.
func TestSOCKSReplies(t *testing.T) {
	for reply, want := range map[byte]error{
		1: syscall.ECONNREFUSED, 2: os.ErrPermission, 3: syscall.ENETUNREACH, 4: syscall.EHOSTUNREACH, 5: syscall.ECONNREFUSED,
		6: syscall.ETIMEDOUT, 7: syscall.ECONNREFUSED, 8: syscall.ENETUNREACH, 9: syscall.ECONNREFUSED, 255: syscall.ECONNREFUSED,
	} {
		err := readReply(bytes.NewReader([]byte{5, reply, 0, 1, 0}))
		var refused *Refused
		if !errors.As(err, &refused) || !errors.Is(err, want) || byte(refused.Reply) != reply {
			t.Errorf("reply %d: %v, want %v", reply, err, want)
		}
	}
}

var (
	good      = []byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0, 'd', 'a', 't', 'a'}
	request   = []byte{5, 1, 0, 1, 192, 0, 2, 1, 1, 0xbb}
	nobodys   = []byte{5, 0xff, 0, 1, 0, 0, 0, 0, 0, 0}
	refuses   = []byte{5, 7, 0, 1, 0, 0, 0, 0, 0, 0}
	passwords = []byte("\x01\x02me\x06secret")
)

func newSOCKS(t *testing.T, n *network, user string) *SOCKS {
	t.Helper()
	password := ""
	if user != "" {
		password = "secret"
	}
	s, err := NewSOCKS(SOCKSConfig{Proxy: func() netip.AddrPort { return there }, User: user, Password: password, Open: n.open})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func dial(t *testing.T, d relay.Dialer) relay.Stream {
	t.Helper()
	s, err := d.Dial(soon(t), target4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Of a proxy that is not known yet each answer is awaited.
func TestSOCKSStepByStep(t *testing.T) {
	n := newNetwork(t)
	n.hosts[there] = func(h *host) {
		if len(h.first) != 3 {
			t.Errorf("opens with % x", h.first)
		}
		h.hears(5, 1, 0)
		h.says(5, 0)
		h.hears(request...)
		h.says(good...)
	}
	speaks(t, dial(t, newSOCKS(t, n, "")))
}

// Of one that was learnt of none is: greeting and request open the connection.
func TestSOCKSPipelines(t *testing.T) {
	n := newNetwork(t)
	n.hosts[there] = func(h *host) {
		if !h.hears(5, 1, 0) {
			return
		}
		if bytes.HasSuffix(h.first, nobodys) {
			h.hears(nobodys...)
			h.says(append([]byte{5, 0}, refuses...)...)
			h.ended()
			return
		}
		if len(h.first) != 3+len(request) {
			t.Errorf("opens with % x", h.first)
		}
		h.hears(request...)
		h.says(append([]byte{5, 0}, good...)...)
	}
	s := newSOCKS(t, n, "")
	if err := s.Learn(soon(t)); err != nil || !s.Pipelines() {
		t.Fatalf("learnt nothing: %v", err)
	}
	speaks(t, dial(t, s))
}

// A proxy that takes what comes with its greeting for a part of it never answers: it is not asked so again.
func TestSOCKSLosesWhatComesEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.hosts[there] = func(h *host) {
			buf := make([]byte, 100)
			h.Read(buf)
			h.says(5, 0)
			if len(h.first) == 3 {
				h.hears(request...)
				h.says(good...)
				return
			}
			h.ended()
		}
		s := newSOCKS(t, n, "")
		if err := s.Learn(soon(t)); err != nil || s.Pipelines() {
			t.Errorf("pipelines %v: %v", s.Pipelines(), err)
		}
		speaks(t, dial(t, s))
	})
}

// One that closes the connection over the request has heard it; one that is silent, or not there, teaches nothing.
func TestSOCKSLearns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		s := newSOCKS(t, n, "")
		if err := s.Learn(soon(t)); err != errNobody {
			t.Errorf("of nobody: %v", err)
		}
		n.hosts[there] = func(h *host) { h.ended() }
		if err := s.Learn(soon(t)); err == nil || s.Pipelines() || s.Learnt() {
			t.Errorf("of one that is silent: %v", err)
		}
		n.hosts[there] = func(h *host) { h.says(5, 0); h.Close() }
		if err := s.Learn(soon(t)); err != nil || !s.Pipelines() || !s.Learnt() {
			t.Errorf("of one that closes: %v", err)
		}
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		n.hosts[there] = func(h *host) { h.says(5, 0); h.ended() }
		if err := s.Learn(gone); err == nil {
			t.Error("learnt although nobody waited")
		}
	})
}

// Another proxy in the place of one that was learnt of may lose what comes with the greeting: that costs one connection, or none if
// it was known to be another.
func TestSOCKSUnlearns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		s := newSOCKS(t, n, "")
		learn := func() {
			t.Helper()
			n.hosts[there] = func(h *host) { h.says(5, 0); h.Close() }
			if err := s.Learn(soon(t)); err != nil || !s.Pipelines() {
				t.Fatalf("learnt nothing: %v", err)
			}
			n.hosts[there] = func(h *host) {
				h.Read(make([]byte, 100))
				h.says(5, 0)
				if len(h.first) == 3 {
					h.hears(request...)
					h.says(good...)
				}
				h.ended()
			}
		}
		learn()
		if _, err := s.Dial(soon(t), target4); !errors.Is(err, context.DeadlineExceeded) || s.Learnt() || s.Pipelines() {
			t.Errorf("%v, learnt %v", err, s.Learnt())
		}
		speaks(t, dial(t, s))
		learn()
		s.Forget()
		speaks(t, dial(t, s))
	})
}

// With a user, the method is asked for by itself; then the password leaves with the greeting, too.
func TestSOCKSPassword(t *testing.T) {
	n := newNetwork(t)
	step := 0
	n.hosts[there] = func(h *host) {
		switch step++; step {
		case 1:
			h.hears(5, 2, 0, 2)
			h.says(5, 2)
			h.ended()
		case 2:
			h.hears(5, 1, 2)
			h.hears(passwords...)
			h.hears(nobodys...)
			h.says(append([]byte{5, 2, 1, 0}, refuses...)...)
			h.ended()
		case 3:
			if want := 3 + len(passwords) + len(request); len(h.first) != want {
				t.Errorf("opens with %d octets, want %d", len(h.first), want)
			}
			h.hears(5, 1, 2)
			h.hears(passwords...)
			h.hears(request...)
			h.says(append([]byte{5, 2, 1, 0}, good...)...)
		}
	}
	s := newSOCKS(t, n, "me")
	if err := s.Learn(soon(t)); err != nil || !s.Pipelines() {
		t.Errorf("learnt nothing: %v", err)
	}
	speaks(t, dial(t, s))
}

// A proxy that wants another method than it once chose is asked which.
func TestSOCKSChangesItsMind(t *testing.T) {
	n := newNetwork(t)
	step := 0
	n.hosts[there] = func(h *host) {
		switch step++; step {
		case 1, 3:
			h.hears(5, 2, 0, 2)
			h.says(5, byte(3-step)) // password, then none
			if step == 1 {
				h.hears(passwords...)
				h.says(1, 0)
			}
			h.hears(request...)
			h.says(good...)
		case 2:
			h.hears(5, 1, 2)
			h.says(5, 0xff)
			h.Close()
		}
	}
	s := newSOCKS(t, n, "me")
	speaks(t, dial(t, s))
	speaks(t, dial(t, s))
}

func TestSOCKSRefusals(t *testing.T) {
	for _, c := range []struct {
		what string
		says []byte
		user string
		want error
	}{
		{"no method", []byte{5, 0xff}, "", ErrMethod},
		{"no method of those", []byte{5, 1}, "", ErrNotSOCKS},
		{"wrong password", []byte{5, 2, 1, 1}, "me", ErrMethod},
		{"refused", append([]byte{5, 0}, 5, 5, 0, 1, 0, 0, 0, 0, 0, 0), "", syscall.ECONNREFUSED},
		{"web server", []byte("HTTP/1.1 400 Bad Request"), "", ErrNotSOCKS},
		{"an end", nil, "", io.ErrUnexpectedEOF},
		{"an end after the method", []byte{5, 0}, "", io.ErrUnexpectedEOF},
	} {
		n := newNetwork(t)
		n.hosts[there] = func(h *host) {
			h.says(c.says...)
			h.CloseWrite()
			if err := h.ended(); err != nil {
				t.Errorf("%s: the proxy was left with %v, want an end in order", c.what, err)
			}
			h.Close()
		}
		if _, err := newSOCKS(t, n, c.user).Dial(soon(t), target4); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
}

// A proxy that refuses and does not close the connection is cut off after 10 s (RFC 1928 6).
func TestSOCKSCutsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.hosts[there] = func(h *host) {
			h.says(5, 0xff)
			if err := h.ended(); err != nil {
				t.Errorf("left with %v", err)
			}
		}
		near := make(chan relay.Stream, 1)
		s, _ := NewSOCKS(SOCKSConfig{Proxy: func() netip.AddrPort { return there },
			Open: func(ctx context.Context, to netip.AddrPort, first []byte, haste Haste) (relay.Stream, error) {
				stream, err := n.open(ctx, to, first, haste)
				watched := &aborts{Stream: stream, aborted: make(chan struct{})}
				near <- watched
				return watched, err
			}})
		if _, err := s.Dial(t.Context(), target4); !errors.Is(err, ErrMethod) {
			t.Fatal(err)
		}
		<-(<-near).(*aborts).aborted
	})
}

// A proxy that refuses and never closes costs no more than so many connections: those beyond are reset at once.
func TestSOCKSCutsOffACrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.hosts[there] = func(h *host) { h.says(5, 0xff); h.ended() }
		s := newSOCKS(t, n, "")
		for range leavingMax + 3 {
			if _, err := s.Dial(t.Context(), target4); !errors.Is(err, ErrMethod) {
				t.Fatal(err)
			}
		}
		if s.Cut() != 3 {
			t.Errorf("%d were cut off, want 3", s.Cut())
		}
		time.Sleep(closeTime)
		synctest.Wait()
		if n := s.left.waiting.Load(); n != 0 {
			t.Errorf("%d wait still", n)
		}
		s.Dial(t.Context(), target4)
		if s.Cut() != 3 {
			t.Error("cut off although there is room again")
		}
	})
}

// A proxy that says what it says octet by octet is understood, and one that never comes to an end is left when time is up.
func TestSOCKSSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			every time.Duration
			want  error
		}{{100 * time.Millisecond, nil}, {5 * time.Second, context.DeadlineExceeded}} {
			n := newNetwork(t)
			n.hosts[there] = func(h *host) {
				for _, octet := range append([]byte{5, 0}, good...) {
					time.Sleep(c.every)
					if _, err := h.Write([]byte{octet}); err != nil {
						return
					}
				}
				h.ended()
			}
			s, err := newSOCKS(t, n, "").Dial(soon(t), target4)
			if err != c.want {
				t.Errorf("every %v: %v, want %v", c.every, err, c.want)
			}
			if err == nil {
				speaks(t, s)
				s.Close()
			}
		}
	})
}

// aborts tells of Abort.
type aborts struct {
	relay.Stream
	aborted chan struct{}
}

func (a *aborts) Abort(why error) {
	a.Stream.Abort(why)
	close(a.aborted)
}

// Who stops waiting does not wait for a silent proxy.
func TestSOCKSGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		n.hosts[there] = func(h *host) { h.ended() }
		if _, err := newSOCKS(t, n, "").Dial(soon(t), target4); err != context.DeadlineExceeded {
			t.Error(err)
		}
	})
}

// FuzzSOCKS: whatever a proxy says, Dial returns, and takes no octet of the target's.
func FuzzSOCKS(f *testing.F) {
	f.Add(append([]byte{5, 0}, good...), false)
	f.Add(append([]byte{5, 2, 1, 0}, good...), true)
	f.Add([]byte{5, 0xff}, false)
	f.Add(append([]byte{5, 0}, append([]byte{5, 0, 0, 3, 3}, "abc\x00\x50data"...)...), false)
	f.Fuzz(func(t *testing.T, said []byte, withUser bool) {
		if len(said) > 4096 {
			return
		}
		n := newNetwork(t)
		n.hosts[there] = func(h *host) {
			h.says(said...)
			h.CloseWrite()
		}
		user := ""
		if withUser {
			user = "me"
		}
		s, err := newSOCKS(t, n, user).Dial(soon(t), target4)
		if err != nil {
			return
		}
		rest, _ := io.ReadAll(s)
		s.Close()
		if !bytes.HasSuffix(said, rest) || len(said)-len(rest) > 2+2+5+255+2 || len(said)-len(rest) < 2+7 {
			t.Errorf("of % x, % x is left", said, rest)
		}
	})
}
