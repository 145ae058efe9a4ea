package upstream

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"tandem/engine/convert"
	"tandem/tunnel/relay"
	"tandem/tunnel/relay/relaytest"
)

// consents are the answers of a proxy that connects, by what it speaks.
func consents(t *testing.T, n *network) map[string]struct {
	dialer relay.Dialer
	says   []byte
} {
	return map[string]struct {
		dialer relay.Dialer
		says   []byte
	}{
		"SOCKS5":  {newSOCKS(t, n, ""), []byte{5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0}},
		"Convert": {newConverter(n, true), []byte{1, 1, 0x22, 0x63}},
	}
}

// Wherever in its answer a proxy resets the connection, the dial fails with that, and leaves nothing open.
func TestResetWithinTheAnswer(t *testing.T) {
	for name := range consents(t, newNetwork(t)) {
		for cut := range 12 {
			n := newNetwork(t)
			c := consents(t, n)[name]
			if cut >= len(c.says) {
				continue
			}
			n.hosts[there] = func(h *host) {
				h.says(c.says[:cut]...)
				h.Abort(nil)
			}
			if _, err := c.dialer.Dial(soon(t), target4); !errors.Is(err, relaytest.ErrReset) {
				t.Errorf("%s after %d octets: %v", name, cut, err)
			}
		}
	}
}

// A proxy may end its direction with its answer, and still takes what it is sent.
func TestHalfCloseWithTheAnswer(t *testing.T) {
	for name := range consents(t, newNetwork(t)) {
		n := newNetwork(t)
		c := consents(t, n)[name]
		heard := make(chan string, 1)
		n.hosts[there] = func(h *host) {
			h.says(append(c.says, "bye"...)...)
			h.CloseWrite()
			said, _ := io.ReadAll(h)
			heard <- string(said[len(said)-5:])
		}
		s := dial(t, c.dialer)
		if said, err := io.ReadAll(s); err != nil || string(said) != "bye" {
			t.Errorf("%s: %q, %v", name, said, err)
		}
		s.Write([]byte("after"))
		s.CloseWrite()
		if got := <-heard; got != "after" {
			t.Errorf("%s heard %q", name, got)
		}
	}
}

// A converter that says its answer octet by octet is understood; one that takes longer than anybody waits is left, and not for
// that reason thought to be none.
func TestConvertSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for every, ok := range map[time.Duration]bool{100 * time.Millisecond: true, 6 * time.Second: false} {
			n := newNetwork(t)
			n.hosts[there] = func(h *host) {
				for _, octet := range []byte{1, 3, 0x22, 0x63, 21, 2, 0, 0, 30, 0, 0, 0, 'd', 'a', 't', 'a'} {
					time.Sleep(every)
					if _, err := h.Write([]byte{octet}); err != nil {
						return
					}
				}
				h.ended()
			}
			c := newConverter(n, true)
			s, err := c.Dial(soon(t), target4)
			if (err == nil) != ok || c.Avoided() != "" {
				t.Errorf("every %v: %v, avoided %q", every, err, c.Avoided())
			}
			if s != nil {
				speaks(t, s)
				s.Close()
			}
		}
	})
}

// However often a converter advises to ask again, there is an end, and each connection for it is reset.
func TestConvertAdvisesWithoutEnd(t *testing.T) {
	n := newNetwork(t)
	ends := make(chan error, 10)
	codes := []convert.Failure{{Code: convert.MissingCookie, Value: []byte{0, 1, 2, 3, 4}}, {Code: convert.NotAuthorized},
		{Code: convert.MissingCookie, Value: []byte{0, 5, 6, 7, 8}}, {Code: convert.UnsupportedOption, Value: []byte{convert.MPTCP}}}
	asked := 0
	n.hosts[there] = func(h *host) {
		buf := make([]byte, convert.MaxLen)
		h.Read(buf)
		m := convert.Message{Has: convert.HasError, Error: codes[asked%len(codes)]}
		asked++
		h.says(m.Append(nil)...)
		ends <- h.ended()
	}
	var why *convert.Refusal
	if _, err := newConverter(n, true).Dial(soon(t), target4); !errors.As(err, &why) || !errors.Is(err, why.Err) {
		t.Errorf("connected, or failed without the last reason: %v", err)
	}
	if asked > attemptsMax {
		t.Errorf("asked %d times", asked)
	}
	for range asked {
		if err := <-ends; !errors.Is(err, relaytest.ErrReset) {
			t.Errorf("a connection ended with %v, want a reset (RFC 8803 6.2.8)", err)
		}
	}
	if got := n.opens(); len(got) != asked || got[0] != there {
		t.Errorf("opened %v", got)
	}
}
