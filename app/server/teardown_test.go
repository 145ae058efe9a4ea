package server

import (
	"bytes"
	"io"
	"testing"
	"testing/synctest"

	"tandem/engine"
	"tandem/engine/wire"
)

// A teardown is a way in which one side of a proxy ends, and what the other side is told: octets on its wires.
type teardown struct {
	name      string
	multipath bool // the server speaks Multipath TCP, too
	happens   func(s *splice, client, server *engine.Conn)
	client    []sign // what must, or must not, have gone over the client's links, towards it
	server    []sign // … over the server's wire, towards it
}

// A sign is what a wire tells of an end.
type sign struct {
	what string
	is   func(s *splice) func(seg *wire.Segment, raw []byte) bool
	not  bool
}

func plainly(is func(*wire.Segment, []byte) bool) func(*splice) func(*wire.Segment, []byte) bool {
	return func(*splice) func(*wire.Segment, []byte) bool { return is }
}

var (
	rst     = sign{"RST", plainly(isReset), false}
	noRST   = sign{"RST", plainly(isReset), true}
	fin     = sign{"FIN", plainly(isFin), false}
	noFIN   = sign{"FIN", plainly(isFin), true}
	dataFin = sign{"DATA_FIN", plainly(isDataFin), false}
	noEnd   = sign{"DATA_FIN", plainly(isDataFin), true}

	// fast is MP_FASTCLOSE with the client's own key, octet for octet.
	fast   = sign{"MP_FASTCLOSE", closes, false}
	noFast = sign{"MP_FASTCLOSE", closes, true}
)

func closes(s *splice) func(*wire.Segment, []byte) bool {
	want := fastclose(s.clientKey())
	return func(_ *wire.Segment, raw []byte) bool { return bytes.Contains(raw, want) }
}

// teardowns are {FIN, RST, MP_FASTCLOSE, timeout} × {up, down}, half-closes, and a reset of one subflow (RFC 8803 4.2, 5.1).
func teardowns() []teardown {
	return []teardown{
		{"FIN up", false, func(s *splice, client, server *engine.Conn) {
			client.CloseWrite()
			s.ends(server, io.EOF)
			server.Write([]byte("late"))
			s.reads(client, "late")
		}, []sign{noRST, noFast, noEnd}, []sign{fin, noRST}},
		{"FIN down", false, func(s *splice, client, server *engine.Conn) {
			server.CloseWrite()
			s.ends(client, io.EOF)
			client.Write([]byte("late"))
			s.reads(server, "late")
		}, []sign{dataFin, noRST, noFast}, []sign{noFIN, noRST}},
		{"FIN up, then down", false, func(s *splice, client, server *engine.Conn) {
			client.CloseWrite()
			s.ends(server, io.EOF)
			server.CloseWrite()
			s.ends(client, io.EOF)
			<-client.Done()
			<-server.Done()
		}, []sign{dataFin, noRST, noFast}, []sign{fin, noRST}},
		{"RST up", false, func(s *splice, client, server *engine.Conn) {
			s.forge(0)
			s.forge(1)
			s.ends(server, engine.ErrReset)
		}, nil, []sign{rst, noFIN}},
		{"RST down", false, func(s *splice, client, server *engine.Conn) {
			server.Abort(nil)
			s.ends(client, engine.ErrReset)
		}, []sign{fast, noEnd}, []sign{noFIN}},
		{"MP_FASTCLOSE up", false, func(s *splice, client, server *engine.Conn) {
			client.Abort(nil)
			s.ends(server, engine.ErrReset)
		}, []sign{noEnd}, []sign{rst, noFIN}},
		{"MP_FASTCLOSE down", true, func(s *splice, client, server *engine.Conn) {
			server.Abort(nil)
			s.ends(client, engine.ErrReset)
		}, []sign{fast, noEnd}, nil},
		{"timeout up", false, func(s *splice, client, server *engine.Conn) {
			for _, w := range s.links {
				w.up.silence()
				w.down.silence()
			}
			server.Write([]byte("lost"))
			s.ends(server, engine.ErrReset)
		}, []sign{noEnd}, []sign{rst, noFIN}},
		{"timeout down", false, func(s *splice, client, server *engine.Conn) {
			s.down.up.silence()
			s.down.down.silence()
			client.Write([]byte("lost"))
			s.ends(client, engine.ErrReset)
		}, []sign{fast, noEnd}, []sign{noFIN}},
		{"RST of one subflow", false, func(s *splice, client, server *engine.Conn) {
			s.forge(1)
			for range 3 {
				client.Write([]byte("more"))
				s.reads(server, "more")
				server.Write([]byte("back"))
				s.reads(client, "back")
			}
		}, []sign{noFast, noEnd}, []sign{noRST, noFIN}},
		{"FIN up, then RST down", false, func(s *splice, client, server *engine.Conn) {
			client.CloseWrite()
			s.ends(server, io.EOF)
			server.Abort(nil)
			s.ends(client, engine.ErrReset)
		}, []sign{fast, noEnd}, []sign{fin}},
		{"FIN down, then MP_FASTCLOSE up", false, func(s *splice, client, server *engine.Conn) {
			server.CloseWrite()
			s.ends(client, io.EOF)
			client.Abort(nil)
			if err := server.WaitEnd(); err == nil {
				s.t.Error("the server's connection ended in order")
			}
		}, []sign{dataFin}, []sign{rst, noFIN}},
	}
}

// TestTeardown: how one side ends is how the other is told, by a proxy that nobody knows and by a converter.
func TestTeardown(t *testing.T) {
	for _, x := range teardowns() {
		for name, converter := range map[string]bool{"implicit": false, "convert": true} {
			t.Run(x.name+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newSplice(t, converter, x.multipath)
					defer s.close()
					client, server := s.connect(converter)
					x.happens(s, client, server)
					synctest.Wait()
					s.told("client", x.client, &s.links[0].down, &s.links[1].down)
					s.told("server", x.server, &s.down.up)
				})
			})
		}
	}
}

// told wants wires to have told this, or not.
func (s *splice) told(whom string, tells []sign, wires ...*tap) {
	s.t.Helper()
	for _, x := range tells {
		seen := false
		for _, w := range wires {
			seen = seen || w.any(x.is(s))
		}
		if seen == x.not {
			s.t.Errorf("%s towards the %s: %v, want %v", x.what, whom, seen, !x.not)
		}
	}
}

// TestImplicitOnTheWire: octet for octet, what makes further subflows come to the proxy (RFC 8684 3.1, 3.4.1).
func TestImplicitOnTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSplice(t, false, false)
		defer s.close()
		s.connect(false)
		var answer wire.Segment
		if !s.links[0].down.any(func(seg *wire.Segment, raw []byte) bool {
			answer = *seg
			return seg.Flags&(wire.SYN|wire.ACK) == wire.SYN|wire.ACK && bytes.Contains(raw, []byte{30, 12, 0x01, 0x21})
		}) || answer.Source != spliceShop {
			t.Errorf("no SYN/ACK in the server's name with C=1: %+v", answer)
		}
		own := spliceProxy.As4()
		announces := func(_ *wire.Segment, raw []byte) bool {
			at := bytes.Index(raw, []byte{30, 16, 0x30})
			return at > 0 && bytes.Equal(raw[at+4:at+8], own[:])
		}
		if !s.links[0].down.any(announces) {
			t.Error("no ADD_ADDR of the proxy's")
		}
		for i, w := range s.links {
			for _, to := range []struct {
				name  string
				is    func(*wire.Segment) bool
				wants bool
			}{
				{"the server", func(seg *wire.Segment) bool { return seg.Target == spliceShop }, false},
				{"the proxy", func(seg *wire.Segment) bool { return seg.Target.Addr() == spliceProxy }, i == 1},
			} {
				joined := w.up.any(func(seg *wire.Segment, _ []byte) bool { return seg.Options.Has&wire.HasJoin != 0 && to.is(seg) })
				if joined != to.wants {
					t.Errorf("MP_JOIN over link %d to %s: %v", i, to.name, joined)
				}
			}
		}
		if n := s.proxy.Counters(); n.Taken != 1 || n.Forwarded != 0 {
			t.Errorf("%+v", n)
		}
	})
}
