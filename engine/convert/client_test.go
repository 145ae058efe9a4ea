package convert

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"tandem/engine/clock"
)

const (
	acceptance = "01 01 2263"
	mptcp1     = "1e 0c 01 01 0102030405060708"
)

// asks returns a client and what it asks first.
func asks(cache *Cache, cfg ClientConfig) (*Client, []byte) {
	cfg.Converter = converter
	c := NewClient(cache, cfg)
	return c, c.Append(nil)
}

// refusal feeds an answer that is an error and returns it.
func refusal(t *testing.T, c *Client, now clock.Time, answer string) *Refusal {
	t.Helper()
	rest, done, err := c.Receive(now, append(octets(t, answer), "left"...))
	var r *Refusal
	if !errors.As(err, &r) || done || len(rest) != 0 {
		t.Fatalf("%q, %v, %v", rest, done, err)
	}
	if _, done, again := c.Receive(now, nil); again != err || done || c.EOF() != err {
		t.Fatalf("then %v, %v", done, again)
	}
	return r
}

func TestClientAsks(t *testing.T) {
	known := NewCache(CacheConfig{})
	known.setCookie(converter, 0, []byte{0xc0, 0xff, 0xee, 0})
	mptcp := Options{}.Add(MPTCP)
	for _, c := range []struct {
		name  string
		cache *Cache
		cfg   ClientConfig
		want  string
	}{
		{"base", NewCache(CacheConfig{}), ClientConfig{Target: server4}, "01 06 2263 0a 05 " + toServer4},
		{"IPv4 as IPv6", NewCache(CacheConfig{}), ClientConfig{Target: netip.MustParseAddrPort("[::ffff:192.0.2.1]:443")}, "01 06 2263 0a 05 " + toServer4},
		{"with a zone", NewCache(CacheConfig{}), ClientConfig{Target: netip.MustParseAddrPort("[2001:db8::1%eth0]:80")}, "01 06 2263 0a 05 " + toServer6},
		{"extended", NewCache(CacheConfig{}), ClientConfig{Target: server6, Options: mptcp.Add(SACKPermitted)},
			"01 07 2263 0a 06 " + toServer6 + "1e 02 04 02"},
		{"with the cookie", known, ClientConfig{Target: server4, Options: mptcp}, "01 09 2263 16 02 0000 c0ffee00 0a 06 " + toServer4 + "1e 02 0000"},
		{"Info alone", NewCache(CacheConfig{}), ClientConfig{}, "01 02 2263 01 01 0000"},
		{"Info as well", NewCache(CacheConfig{}), ClientConfig{Info: true, Target: server4}, "01 07 2263 01 01 0000 0a 05 " + toServer4},
		{"more options than a SYN holds", NewCache(CacheConfig{}), ClientConfig{Target: server4, Options: mptcp.Add(253, make([]byte, 37)...)}, "01 06 2263 0a 05 " + toServer4},
	} {
		if _, got := asks(c.cache, c.cfg); !bytes.Equal(got, octets(t, c.want)) {
			t.Errorf("%s: %x", c.name, got)
		}
	}
}

// Wherever the answer is cut, the client understands it and gives back what the server says.
func TestClientInPieces(t *testing.T) {
	for _, a := range []struct {
		wire string
		want Answer
	}{
		{acceptance, Answer{}},
		{"01 02 2263 14 01 0000", Answer{Extended: true}},
		{"01 03 2263 14 02 0000 04 02 01 01", Answer{Extended: true, Options: []byte{4, 2, 1, 1}}},
		{"01 05 2263 14 04 0000" + mptcp1, Answer{Extended: true, MPTCP: true, Options: octets(t, mptcp1)}},
		{"01 03 2263 15 02 0000 1e 04 00 00", Answer{Supported: []byte{30, 4}}},
	} {
		answer := octets(t, a.wire)
		stream := append(bytes.Clone(answer), "hello"...)
		for at := range len(stream) + 1 {
			c, _ := asks(NewCache(CacheConfig{}), ClientConfig{Target: server4})
			rest, done, err := c.Receive(0, stream[:at])
			if err != nil || done != (at >= len(answer)) {
				t.Fatalf("%s: %v, %v after %d", a.wire, done, err, at)
			}
			more, done, err := c.Receive(0, stream[at:])
			if got := string(rest) + string(more); err != nil || !done || got != "hello" || c.EOF() != nil {
				t.Fatalf("%s: %v, %v, %q, cut at %d", a.wire, done, err, got, at)
			}
			got := c.Answer()
			if got.Extended != a.want.Extended || got.MPTCP != a.want.MPTCP || !bytes.Equal(got.Options, a.want.Options) ||
				!bytes.Equal(got.Supported, a.want.Supported) {
				t.Fatalf("%s: %+v", a.wire, got)
			}
		}
	}
}

// The second connection to a server that speaks MPTCP goes there directly.
func TestServerOfMPTCPIsBypassed(t *testing.T) {
	cache := NewCache(CacheConfig{})
	c, _ := asks(cache, ClientConfig{Target: server4})
	if _, done, err := c.Receive(second, octets(t, "01 05 2263 14 04 0000"+mptcp1)); !done || err != nil || !c.Answer().MPTCP {
		t.Fatal(done, err)
	}
	if cache.Via(second, converter, server4) || !cache.Via(second, converter, server6) {
		t.Error("not bypassed")
	}
	c, _ = asks(cache, ClientConfig{Target: server6})
	if _, done, _ := c.Receive(second, octets(t, "01 04 2263 14 03 0000 02 04 05b4 04 02 01 01")); !done || !cache.Via(second, converter, server6) {
		t.Error("plain TCP is bypassed")
	}
}

// What is not a message for clients, or none at all, shows that something on the way does harm.
func TestInterference(t *testing.T) {
	for _, c := range []struct {
		name, wire string
		want       error
	}{
		{"another protocol", "48545450", ErrMagic},
		{"version 2", "02 01 2263", ErrVersion},
		{"Total Length 0", "01 00 2263", ErrLength},
		{"duplicate", "01 03 2263 14 01 0000 14 01 0000", ErrDuplicate},
		{"type 0", "01 02 2263 00 01 0000", ErrType},
		{"unknown type", "01 02 2263 63 01 0000", ErrType},
		{"TLV across the end", "01 02 2263 14 02 0000", ErrFraming},
		{"Info", "01 02 2263 01 01 0000", ErrType},
		{"Cookie", "01 02 2263 16 01 0000", ErrType},
		{"own request", "01 06 2263 0a 05 " + toServer4, ErrType},
	} {
		cache := NewCache(CacheConfig{})
		client, _ := asks(cache, ClientConfig{Target: server4})
		r := refusal(t, client, 0, c.wire)
		if !errors.Is(r, c.want) || r.Advice != Avoid || r.Told || r.Advice.Retry() || cache.Via(0, converter, server4) {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

// A SYN that lost its payload costs the converter its client; the connection is made directly.
func TestStripped(t *testing.T) {
	cache := NewCache(CacheConfig{})
	c, _ := asks(cache, ClientConfig{Target: server4})
	var r *Refusal
	if err := c.Stripped(); !errors.As(err, &r) || r.Advice != Avoid || !errors.Is(err, ErrStripped) || cache.Via(0, converter, server4) {
		t.Errorf("%+v", r)
	}
	if _, done, err := c.Receive(0, octets(t, acceptance)); done || !errors.Is(err, ErrStripped) {
		t.Error(done, err)
	}
}

func TestStreamEndsBeforeTheAnswer(t *testing.T) {
	cache := NewCache(CacheConfig{})
	c, _ := asks(cache, ClientConfig{Target: server4})
	c.Receive(0, octets(t, "01 02 22"))
	var r *Refusal
	if err := c.EOF(); !errors.As(err, &r) || !errors.Is(err, io.ErrUnexpectedEOF) || r.Advice != GiveUp || !cache.Via(0, converter, server4) {
		t.Error(err)
	}
}

func TestErrorsOfTheConverter(t *testing.T) {
	for _, c := range []struct {
		name, wire string
		advice     Advice
		errno      syscall.Errno
		delay      time.Duration
	}{
		{"version", "1e 01 00 02", Avoid, syscall.EPROTO, 0},
		{"malformed", "1e 03 01 00 01 02 2263 01 01 0000", GiveUp, syscall.EPROTO, 0},
		{"unsupported message", "1e 03 02 00 01 02 2263 01 01 0000", GiveUp, syscall.EPROTO, 0},
		{"cookie without a cookie", "1e 01 03 00", GiveUp, syscall.EACCES, 0},
		{"not authorized", "1e 01 20 00", GiveUp, syscall.EACCES, 0},
		{"option, though none was asked for", "1e 01 21 1d", GiveUp, syscall.EPROTO, 0},
		{"full", "1e 01 40 05", BackOff, syscall.ENOBUFS, 5 * time.Second},
		{"full, for how long is not said", "1e 01 40 00", BackOff, syscall.ENOBUFS, 30 * time.Second},
		{"network failure", "1e 01 41 02", BackOff, syscall.ENETUNREACH, 2 * time.Second},
		{"reset", "1e 01 60 00", GiveUp, syscall.ECONNREFUSED, 0},
		{"port unreachable", "1e 01 61 03", GiveUp, syscall.ECONNREFUSED, 0},
		{"host unreachable", "1e 01 61 01", GiveUp, syscall.EHOSTUNREACH, 0},
		{"unknown", "1e 01 7f 01", GiveUp, syscall.EPROTO, 0},
	} {
		message := octets(t, "01 00 2263"+c.wire)
		message[1] = byte(len(message) / 4)
		cache := NewCache(CacheConfig{})
		client, _ := asks(cache, ClientConfig{Target: server4})
		_, _, err := client.Receive(100*second, message)
		var r *Refusal
		if !errors.As(err, &r) || !r.Told || r.Advice != c.advice || !errors.Is(err, c.errno) || r.Delay != c.delay || r.Advice.Retry() {
			t.Errorf("%s: %+v", c.name, r)
			continue
		}
		until := clock.Time(100 * second).Add(c.delay)
		usable := cache.Via(until, converter, server4)
		if usable != (c.advice != Avoid) || c.delay > 0 && cache.Via(until-1, converter, server4) {
			t.Errorf("%s: usable then %v", c.name, usable)
		}
		if r.Error() != "converter: "+r.Code.String() {
			t.Error(r)
		}
	}
}

// Who asked for no server in particular asks for none.
func TestBackOffAfterInfo(t *testing.T) {
	cache := NewCache(CacheConfig{})
	c, _ := asks(cache, ClientConfig{})
	if r := refusal(t, c, 0, "01 02 2263 1e 01 41 02"); r.Advice != BackOff || cache.Via(2*second-1, converter, server4) || cache.Via(2*second-1, converter, server6) {
		t.Errorf("%+v", r)
	}
}

func TestMissingCookieIsBroughtOnce(t *testing.T) {
	cache := NewCache(CacheConfig{})
	c, _ := asks(cache, ClientConfig{Target: server4})
	if r := refusal(t, c, 0, "01 03 2263 1e 02 03 00 c0ffee00"); r.Advice != CookieRetry || !r.Advice.Retry() {
		t.Fatalf("%+v", r)
	}
	want := octets(t, "01 08 2263 16 02 0000 c0ffee00 0a 05 "+toServer4)
	if got := c.Append(nil); !bytes.Equal(got, want) {
		t.Fatalf("%x", got)
	}
	if r := refusal(t, c, 0, "01 03 2263 1e 02 03 00 beefbeef"); r.Advice != GiveUp {
		t.Errorf("%+v", r)
	}
	if _, got := asks(cache, ClientConfig{Target: server4}); !bytes.Equal(got, want) {
		t.Errorf("another client asks %x", got)
	}
}

// An old cookie is dropped, a new one fetched, and then there is an end.
func TestCookieNotAccepted(t *testing.T) {
	cache := NewCache(CacheConfig{})
	cache.setCookie(converter, 0, []byte{1, 2, 3, 4})
	c, _ := asks(cache, ClientConfig{Target: server4})
	const notAuthorized = "01 02 2263 1e 01 20 00"
	if r := refusal(t, c, 0, notAuthorized); r.Advice != NoCookieRetry || !r.Advice.Retry() {
		t.Fatalf("%+v", r)
	}
	if got := c.Append(nil); !bytes.Equal(got, octets(t, "01 06 2263 0a 05 "+toServer4)) {
		t.Fatalf("%x", got)
	}
	if r := refusal(t, c, 0, "01 03 2263 1e 02 03 00 c0ffee00"); r.Advice != CookieRetry {
		t.Fatalf("%+v", r)
	}
	if got := c.Append(nil); !bytes.Equal(got, octets(t, "01 08 2263 16 02 0000 c0ffee00 0a 05 "+toServer4)) {
		t.Fatalf("%x", got)
	}
	if r := refusal(t, c, 0, notAuthorized); r.Advice != GiveUp {
		t.Errorf("%+v", r)
	}
}

// A cookie that another client has fetched meanwhile stays.
func TestNewCookieStays(t *testing.T) {
	cache := NewCache(CacheConfig{})
	cache.setCookie(converter, 0, []byte{1, 2, 3, 4})
	c, _ := asks(cache, ClientConfig{Target: server4})
	cache.setCookie(converter, 0, []byte{5, 6, 7, 8})
	if r := refusal(t, c, 0, "01 02 2263 1e 01 20 00"); r.Advice != NoCookieRetry {
		t.Fatalf("%+v", r)
	}
	if got := c.Append(nil); !bytes.Equal(got, octets(t, "01 08 2263 16 02 0000 05060708 0a 05 "+toServer4)) {
		t.Errorf("%x", got)
	}
}

// Each path has its cookie. One of another path is not dropped because it is not accepted here.
func TestCookieOfEachPath(t *testing.T) {
	const notAuthorized, request = "01 02 2263 1e 01 20 00", "01 08 2263 16 02 0000 %s 0a 05 "
	cache := NewCache(CacheConfig{})
	c, _ := asks(cache, ClientConfig{Target: server4})
	c.Began(1)
	if r := refusal(t, c, 0, "01 03 2263 1e 02 03 00 c0ffee01"); r.Advice != CookieRetry || c.Path() != 1 {
		t.Fatalf("%+v, then over %d", r, c.Path())
	}
	c, got := asks(cache, ClientConfig{Target: server4})
	if c.Began(2); !bytes.Equal(got, octets(t, fmt.Sprintf(request, "c0ffee01")+toServer4)) {
		t.Errorf("the last path's cookie is not tried: %x", got)
	}
	if r := refusal(t, c, 0, notAuthorized); r.Advice != NoCookieRetry || c.Path() != 2 {
		t.Fatalf("%+v, then over %d", r, c.Path())
	}
	if got := c.Append(nil); !bytes.Equal(got, octets(t, "01 06 2263 0a 05 "+toServer4)) {
		t.Errorf("%x", got)
	}
	if r := refusal(t, c, 0, "01 03 2263 1e 02 03 00 c0ffee02"); r.Advice != CookieRetry {
		t.Fatalf("%+v", r)
	}
	for path, want := range map[Path]string{1: "c0ffee01", 2: "c0ffee02"} {
		if got := cache.cookie(converter, path); !bytes.Equal(got, octets(t, want)) {
			t.Errorf("path %d: %x", path, got)
		}
	}
	c.Append(nil)
	c.Began(1) // after all: what is said there is of another cookie
	if r := refusal(t, c, 0, notAuthorized); r.Advice != NoCookieRetry {
		t.Errorf("%+v", r)
	}
	cache.Forget()
	if len(cache.cookies.rows) != 0 {
		t.Errorf("%v", cache.cookies.rows)
	}
}

// A cookie that is given again after it was not accepted is good: it is the target that is denied.
func TestTargetIsDenied(t *testing.T) {
	cache := NewCache(CacheConfig{})
	cache.setCookie(converter, 0, []byte{0xc0, 0xff, 0xee, 0})
	c, _ := asks(cache, ClientConfig{Target: server4})
	if r := refusal(t, c, 0, "01 02 2263 1e 01 20 00"); r.Advice != NoCookieRetry {
		t.Fatalf("%+v", r)
	}
	c.Append(nil)
	if r := refusal(t, c, 0, "01 03 2263 1e 02 03 00 c0ffee00"); r.Advice != GiveUp || !errors.Is(r, syscall.EACCES) || len(cache.cookie(converter, 0)) != 4 {
		t.Errorf("%+v", r)
	}
}

func TestCookieIsBounded(t *testing.T) {
	for n, want := range map[int]Advice{cookieMax: CookieRetry, cookieMax + 4: GiveUp} {
		c, _ := asks(NewCache(CacheConfig{}), ClientConfig{Target: server4, Info: true, Options: Options{}.Add(253, make([]byte, 38)...)})
		m := Message{Has: HasError, Error: Failure{MissingCookie, make([]byte, 1+n)}}
		_, _, err := c.Receive(0, m.Append(nil))
		var r *Refusal
		if !errors.As(err, &r) || r.Advice != want {
			t.Errorf("%d octets: %+v", n, r)
		}
		if r.Advice.Retry() && len(c.Append(nil)) != MaxLen {
			t.Errorf("a cookie of %d octets makes a message of %d", n, len(c.Append(nil)))
		}
	}
}

// Options that are refused are not asked for again: not in this connection, nor these in the next one.
func TestUnsupportedOption(t *testing.T) {
	cache := NewCache(CacheConfig{})
	options := Options{}.Add(MPTCP).Add(SACKPermitted)
	c, _ := asks(cache, ClientConfig{Target: server4, Options: options})
	if r := refusal(t, c, 0, "01 02 2263 1e 01 21 1e"); r.Advice != BaseRetry || !r.Advice.Retry() {
		t.Fatalf("%+v", r)
	}
	if got := c.Append(nil); !bytes.Equal(got, octets(t, "01 06 2263 0a 05 "+toServer4)) {
		t.Fatalf("%x", got)
	}
	if r := refusal(t, c, 0, "01 02 2263 1e 01 21 1e"); r.Advice != GiveUp {
		t.Errorf("%+v", r)
	}
	if _, got := asks(cache, ClientConfig{Target: server4, Options: options}); !bytes.Equal(got, octets(t, "01 07 2263 0a 06 "+toServer4+"04 02 0000")) {
		t.Errorf("the next asks %x", got)
	}
	cache.Forget()
	if _, got := asks(cache, ClientConfig{Target: server4, Options: options}); !bytes.Equal(got, octets(t, "01 07 2263 0a 06 "+toServer4+"1e 02 04 02")) {
		t.Errorf("after all is forgotten it asks %x", got)
	}
}

// MPTCP must be announced to be asked for; the others need not be.
func TestSupportedIsRemembered(t *testing.T) {
	cache := NewCache(CacheConfig{})
	c, _ := asks(cache, ClientConfig{})
	if _, done, err := c.Receive(0, octets(t, "01 03 2263 15 02 0000 08 00 00 00")); !done || err != nil {
		t.Fatal(done, err)
	}
	if got := cache.Converter(converter); !got.Known || !bytes.Equal(got.Supported, []byte{Timestamps}) || !bytes.Equal(c.Answer().Supported, []byte{Timestamps}) {
		t.Errorf("%+v", got)
	}
	c.Answer().Supported[0] = MPTCP
	cache.Converter(converter).Supported[0] = MPTCP
	options := Options{}.Add(MPTCP).Add(SACKPermitted)
	if _, got := asks(cache, ClientConfig{Target: server4, Options: options}); !bytes.Equal(got, octets(t, "01 07 2263 0a 06 "+toServer4+"04 02 0000")) {
		t.Errorf("%x", got)
	}
	cache.setSupported(converter, []byte{MPTCP})
	if _, got := asks(cache, ClientConfig{Target: server4, Options: options}); !bytes.Equal(got, octets(t, "01 07 2263 0a 06 "+toServer4+"1e 02 04 02")) {
		t.Errorf("%x", got)
	}
}

// A converter to which there is no connection is asked for nothing for as long as one that is full.
func TestUnreached(t *testing.T) {
	cache := NewCache(CacheConfig{})
	c := NewClient(cache, ClientConfig{Converter: converter, Target: server4})
	c.Append(nil)
	const now = clock.Time(100 * second)
	var r *Refusal
	if err := c.Unreached(now); !errors.Is(err, ErrUnreached) || !errors.As(err, &r) || r.Advice != BackOff || r.Delay != delayUntold {
		t.Errorf("%v, %+v", err, r)
	}
	for _, target := range []netip.AddrPort{server4, server6} {
		if cache.Via(now.Add(delayUntold-1), converter, target) || !cache.Via(now.Add(delayUntold), converter, target) {
			t.Errorf("%v is asked for too early, or too late", target)
		}
	}
}
