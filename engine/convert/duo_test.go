package convert

import (
	"bytes"
	"errors"
	"slices"
	"syscall"
	"testing"
	"time"

	"tandem/engine/clock"
)

// A duo is a client and a gate with a wire between them that cuts what passes into pieces, and a server.
type duo struct {
	t     *testing.T
	cache *Cache
	gate  *Gate
	piece int
	dials []Request
	heard string // by the server
	// serve is the server: the options of its SYN/ACK, or why there is none.
	serve func(Request) ([]byte, error)
}

func newDuo(t *testing.T, cfg GateConfig) *duo {
	cfg.Secret = [32]byte{1}
	return &duo{t: t, cache: NewCache(CacheConfig{}), gate: NewGate(cfg), piece: 1,
		serve: func(Request) ([]byte, error) { return nil, nil }}
}

// connect makes as many attempts as are advised and returns their number and what came of the last.
func (d *duo) connect(now clock.Time, cfg ClientConfig) (attempts int, said string, err error) {
	cfg.Converter = converter
	client := NewClient(d.cache, cfg)
	for attempts = 1; attempts < 10; attempts++ {
		d.heard = ""
		said, err = d.attempt(now, client)
		var r *Refusal
		if !errors.As(err, &r) || !r.Advice.Retry() {
			break
		}
	}
	if d.gate.Pending() != 0 {
		d.t.Errorf("%d pending", d.gate.Pending())
	}
	return attempts, said, err
}

func (d *duo) attempt(now clock.Time, client *Client) (said string, err error) {
	c := d.gate.Open(client4)
	defer c.End()
	var verdict Verdict
	for p := range slices.Chunk(client.Append(nil), d.piece) {
		var rest []byte
		verdict, rest = c.Receive(now, p)
		d.heard += string(rest)
	}
	_, rest := c.Receive(now, []byte("GET"))
	d.heard += string(rest)
	answer := c.Answer()
	if verdict == Dial {
		d.dials = append(d.dials, c.Request())
		synack, err := d.serve(c.Request())
		if err == nil {
			answer = append(c.Connected(synack), "200"...)
		} else {
			answer = c.Failed(now, FailureOf(err, c.Request().Target.Addr()))
		}
	}
	for p := range slices.Chunk(answer, d.piece) {
		rest, _, err := client.Receive(now, p)
		if err != nil {
			return "", err
		}
		said += string(rest)
	}
	return said, client.EOF()
}

// Data goes with the request and comes with the answer, whatever the pieces.
func TestConnects(t *testing.T) {
	for piece := 1; piece < 60; piece++ {
		d := newDuo(t, GateConfig{Supported: []uint8{MPTCP}})
		d.piece = piece
		d.serve = func(Request) ([]byte, error) { return octets(t, mptcp1), nil }
		n, said, err := d.connect(0, ClientConfig{Target: server6, Options: Options{}.Add(MPTCP), Info: true})
		if n != 1 || said != "200" || err != nil || d.heard != "GET" || len(d.dials) != 1 || !d.dials[0].Options.Has(MPTCP) {
			t.Fatalf("pieces of %d: %d attempts, %q, %v, heard %q, %+v", piece, n, said, err, d.heard, d.dials)
		}
		if d.cache.Via(0, converter, server6) || !bytes.Equal(d.cache.Converter(converter).Supported, []byte{MPTCP}) {
			t.Fatalf("pieces of %d: nothing learnt", piece)
		}
	}
}

// A cookie costs one attempt, the first time and when the secret has changed twice one more.
func TestCookieLifetime(t *testing.T) {
	d := newDuo(t, GateConfig{Cookies: true})
	for i, want := range []int{2, 1, 1, 3, 1} {
		n, said, err := d.connect(0, ClientConfig{Target: server4})
		if n != want || said != "200" || err != nil || len(d.dials) != i+1 {
			t.Errorf("connection %d: %d attempts, %q, %v, %d dials", i, n, said, err, len(d.dials))
		}
		switch i {
		case 1:
			d.gate.Rotate([32]byte{2})
		case 2:
			d.gate.Rotate([32]byte{3})
		}
	}
}

// Everything that can be tried again at once is, and once.
func TestAllRetries(t *testing.T) {
	d := newDuo(t, GateConfig{Cookies: true, Supported: []uint8{MPTCP}})
	d.cache.setCookie(converter, 0, []byte("stale…"))
	options := Options{}.Add(MPTCP).Add(SACKPermitted)
	if n, said, err := d.connect(0, ClientConfig{Target: server4, Options: options}); n != 4 || said != "200" || err != nil || len(d.dials) != 1 {
		t.Fatalf("%d attempts, %q, %v", n, said, err)
	}
	if n, _, err := d.connect(0, ClientConfig{Target: server4, Options: options}); n != 1 || err != nil || !bytes.Equal(d.dials[1].Options, []byte{MPTCP, 2}) {
		t.Errorf("then %d attempts, %v, %+v", n, err, d.dials)
	}
}

// What connecting the server ended with is what connecting through the converter ends with.
func TestErrorsPassThrough(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EACCES, syscall.ENOBUFS} {
		for _, target := range []ClientConfig{{Target: server4}, {Target: server6}} {
			d := newDuo(t, GateConfig{})
			d.serve = func(Request) ([]byte, error) { return nil, errno }
			if n, said, err := d.connect(0, target); n != 1 || said != "" || !errors.Is(err, errno) {
				t.Errorf("%v: %d attempts, %q, %v", errno, n, said, err)
			}
		}
	}
}

// A converter that is full is left alone for as long as it has asked for.
func TestDelayIsHonoured(t *testing.T) {
	d := newDuo(t, GateConfig{Pending: 1, Wait: 3 * time.Second})
	asksWith(d.gate, client4, nil)
	client := NewClient(d.cache, ClientConfig{Converter: converter, Target: server4})
	_, err := d.attempt(second, client)
	var r *Refusal
	if !errors.As(err, &r) || r.Advice != BackOff || r.Delay != 3*time.Second || len(d.dials) != 0 {
		t.Fatalf("%v, %+v", err, r)
	}
	if d.cache.Via(4*second-1, converter, server4) || !d.cache.Via(4*second, converter, server4) {
		t.Error("not for 3 s")
	}
}

// A failure of the network stops requests for one family, a shortage those for both.
func TestWhatBacksOff(t *testing.T) {
	for errno, both := range map[syscall.Errno]bool{syscall.ENETUNREACH: false, syscall.EMFILE: true} {
		d := newDuo(t, GateConfig{})
		d.serve = func(Request) ([]byte, error) { return nil, errno }
		d.connect(0, ClientConfig{Target: server6})
		if d.cache.Via(0, converter, server6) || d.cache.Via(0, converter, server4) == both || !d.cache.Via(30*second, converter, server6) {
			t.Errorf("%v: %+v", errno, d.cache.Converter(converter))
		}
	}
}
