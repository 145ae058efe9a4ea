package convert

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"testing"
)

// What Parse understands, Append says again, and Parse understands the same; and nothing behind the Total
// Length makes a difference.
func FuzzMessage(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		var first, second, alone Message
		if err := first.Parse(b); err != nil {
			if !reflect.DeepEqual(first, Message{}) {
				t.Fatalf("%v, but something is left of %+v", err, first)
			}
			return
		}
		n, _ := ParseHeader(b)
		if err := alone.Parse(bytes.Clone(b[:n])); err != nil || !reflect.DeepEqual(alone, first) {
			t.Fatalf("%v\nfirst %+v\nalone %+v", err, first, alone)
		}
		again := first.Append(nil)
		if len(again) != first.Len() || len(again) > n || len(again)%word != 0 {
			t.Fatalf("%d octets of %d: %+v", len(again), n, first)
		}
		if err := second.Parse(again); err != nil || !same(second, first) {
			t.Fatalf("%v\nfirst  %+v\nsecond %+v", err, first, second)
		}
		for range first.Options.All() {
		}
		first.Error.Errno(netip.Addr{})
		if d := first.Error.Delay(); d <= 0 || d > delayMax {
			t.Fatal(d)
		}
	})
}

// A converter answers once, the same however the stream is cut, and each malformed message with one error.
func FuzzConverter(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte, at uint16) {
		cut := min(int(at), len(b))
		g := all()
		whole, pieces := g.Open(client4), g.Open(client4)
		v, rest := whole.Receive(0, b)
		_, first := pieces.Receive(0, b[:cut])
		v2, then := pieces.Receive(0, b[cut:])
		if v != v2 || string(rest) != string(first)+string(then) || !bytes.Equal(whole.Answer(), pieces.Answer()) {
			t.Fatalf("%d with %q, in pieces %d with %q and %q", v, rest, v2, first, then)
		}
		n, err := ParseHeader(b)
		var m, answer Message
		wrong := err == nil && n <= len(b) && m.Parse(b) != nil
		switch err := answer.Parse(whole.Answer()); {
		case v != Close:
			if whole.Answer() != nil || wrong {
				t.Fatalf("%d, %x", v, whole.Answer())
			}
		case err != nil:
			t.Fatal(err)
		case wrong && (answer.Has != HasError || answer.Error.Code != MalformedMessage && answer.Error.Code != UnsupportedMessage):
			t.Fatalf("%+v", answer)
		}
		if v == Dial {
			if !dialable(whole.Request().Target) || g.Pending() != 2 || answer.Parse(whole.Connected(nil)) != nil {
				t.Fatalf("%+v", whole.Request())
			}
		}
		v = pieces.EOF(0)
		pieces.End()
		whole.End()
		if v == More || g.Pending() != 0 {
			t.Fatalf("%d, %d pending", v, g.Pending())
		}
	})
}

// A client consents or refuses once, the same however the stream is cut, and asks no more than four times.
func FuzzClient(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte, at uint16) {
		cut := min(int(at), len(b))
		cfg := ClientConfig{Converter: converter, Target: server4, Options: Options{}.Add(MPTCP)}
		whole, pieces := NewClient(NewCache(CacheConfig{}), cfg), NewClient(NewCache(CacheConfig{}), cfg)
		attempts := 0
		for again := true; again; attempts++ {
			first := whole.Append(nil)
			if n, err := ParseHeader(first); err != nil || n != len(first) || !bytes.Equal(first, pieces.Append(nil)) {
				t.Fatalf("asks %x", first)
			}
			rest, done, err := whole.Receive(second, b)
			left, _, _ := pieces.Receive(second, b[:cut])
			more, done2, err2 := pieces.Receive(second, b[cut:])
			if done != done2 || !reflect.DeepEqual(err, err2) || string(rest) != string(left)+string(more) || done && err != nil {
				t.Fatalf("%v, %v, in pieces %v, %v", done, err, done2, err2)
			}
			if !reflect.DeepEqual(whole.Answer(), pieces.Answer()) || (whole.EOF() == nil) != done {
				t.Fatalf("%+v, %+v", whole.Answer(), pieces.Answer())
			}
			var r *Refusal
			again = errors.As(err, &r) && r.Advice.Retry()
			if err != nil && r == nil || r != nil && r.Error() == "" {
				t.Fatal(err)
			}
		}
		if attempts > 4 {
			t.Fatalf("%d attempts", attempts)
		}
	})
}
