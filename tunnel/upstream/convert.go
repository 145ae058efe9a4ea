package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"tandem/engine/clock"
	"tandem/engine/convert"
	"tandem/tunnel/relay"
)

// ConvertConfig says which converter to ask, and how it and others are reached.
type ConvertConfig struct {
	Converter func() netip.AddrPort
	Open      PathOpener
	Path      func(relay.Stream) convert.Path // what an open stream began on
	Multipath func(relay.Stream) bool         // whether its other end speaks Multipath TCP
	Rode      func(relay.Stream) bool         // whether octets rode in its SYN, and were all taken with it

	Cache convert.CacheConfig
	Log   *slog.Logger // nil: none
}

// A PathOpener is an Opener that begins on a path, unless that is 0, and fails with convert.ErrUnreached too if the other
// end does not answer, or refuses.
type PathOpener func(ctx context.Context, to netip.AddrPort, first []byte, haste Haste, over convert.Path) (relay.Stream, error)

// A Convert is a Dialer that asks a converter for a connection in the first octets of one to it. It connects to the
// target directly when that speaks Multipath TCP itself, when the converter wants to be left alone for a while or was not
// reached a while ago, and when something on the way to it interferes: a proxy that fails is not worse than none.
//
// The question rides in the SYN. A converter whose system does not take it there gets it after the handshake; but if it
// was taken once and then is not, over any path, something takes it away, and the converter is not asked any more (RFC 8803
// 8). Since a crowd of SYNs may have done that too, and who answers as no converter does may be somebody in its place for
// a while, it gets another chance, each time later until it has answered.
type Convert struct {
	cfg ConvertConfig
	now func() clock.Time

	mu      sync.Mutex // guards what follows, and what clients of the cache do
	cache   *convert.Cache
	haste   Haste
	again   clock.Time    // when a converter that is avoided gets another chance; 0: there is none to give
	wait    time.Duration // how long it had to wait for the last one
	avoided string        // why the converter is not used; "": it is
}

// NewConvert returns a dialer that knows nothing of the converter yet.
func NewConvert(cfg ConvertConfig) *Convert {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Convert{cfg: cfg, now: clock.System(), cache: convert.NewCache(cfg.Cache), haste: Hasty}
}

// attemptsMax bounds the connections to a converter for one to a target: with the cookie of another path than it began on,
// with an old one of this path, without, with a new one, and without options.
const attemptsMax = 5

// Dial is part of relay.Dialer.
func (c *Convert) Dial(ctx context.Context, target netip.AddrPort) (relay.Stream, error) {
	target = netip.AddrPortFrom(target.Addr().Unmap(), target.Port())
	converter := c.cfg.Converter()
	asking := convert.NewClient(c.cache, convert.ClientConfig{
		Converter: converter, Target: target, Options: convert.Options{}.Add(convert.MPTCP), Info: c.curious(converter),
	})
	var r *convert.Refusal
	for range attemptsMax {
		if !c.via(converter, target) {
			return c.direct(ctx, target)
		}
		stream, err := c.ask(ctx, asking, converter)
		if !errors.As(err, &r) {
			return stream, err
		}
		switch {
		case r.Advice == convert.Avoid:
			c.avoid(converter, r)
		case r.Advice == convert.GiveUp:
			return nil, err
		}
	}
	return nil, fmt.Errorf("the converter at %v never agrees: %w", converter, r)
}

const (
	chanceLeast = time.Minute
	chanceMost  = time.Hour
)

// via reports whether to ask the converter.
func (c *Convert) via(converter, target netip.AddrPort) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if c.again != 0 && now >= c.again {
		c.forget()
	}
	return c.cache.Via(now, converter, target)
}

// curious reports whether the converter has not told yet what it supports.
func (c *Convert) curious(converter netip.AddrPort) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.cache.Converter(converter).Known
}

// direct connects to the target itself.
func (c *Convert) direct(ctx context.Context, target netip.AddrPort) (relay.Stream, error) {
	stream, err := c.cfg.Open(ctx, target, nil, Patient, 0)
	if ctx.Err() == nil && (err != nil || !c.cfg.Multipath(stream)) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.cache.NoBypass(target)
	}
	return stream, err
}

// ask makes one attempt. Who is refused resets the connection (RFC 8803 6.2.8).
func (c *Convert) ask(ctx context.Context, asking *convert.Client, converter netip.AddrPort) (relay.Stream, error) {
	c.mu.Lock()
	request, haste, over := asking.Append(nil), c.haste, asking.Path()
	c.mu.Unlock()
	stream, err := c.cfg.Open(ctx, converter, request, haste, over)
	if err != nil {
		return nil, c.unopened(asking, err)
	}
	c.learn(asking, converter, stream)
	if err := talk(ctx, stream, func() error { return c.hear(asking, stream) }); err != nil {
		stream.Abort(err)
		return nil, err
	}
	return stream, nil
}

// unopened is how it counts that there was no connection.
func (c *Convert) unopened(asking *convert.Client, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case errors.Is(err, convert.ErrStripped):
		return asking.Stripped()
	case errors.Is(err, convert.ErrUnreached):
		c.cfg.Log.Warn("targets are connected to directly for a while", "err", err)
		return asking.Unreached(c.now())
	}
	return err
}

// learn notes what a connection began on, and that what rides in a SYN arrives.
func (c *Convert) learn(asking *convert.Client, converter netip.AddrPort, stream relay.Stream) {
	taken := c.cfg.Rode(stream)
	began := c.cfg.Path(stream)
	c.mu.Lock()
	defer c.mu.Unlock()
	asking.Began(began)
	if taken {
		c.haste = HastyOnly
	}
}

// hear reads the converter's answer to its last octet.
func (c *Convert) hear(asking *convert.Client, r io.Reader) error {
	b := make([]byte, convert.HeaderLen, convert.MaxLen)
	if _, err := io.ReadFull(r, b); err != nil {
		return c.ended(asking, err)
	}
	if n, err := convert.ParseHeader(b); err == nil {
		b = b[:n]
		if _, err := io.ReadFull(r, b[convert.HeaderLen:]); err != nil {
			return c.ended(asking, err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _, err := asking.Receive(c.now(), b)
	if err == nil {
		c.wait = 0
	}
	return err
}

// ended is how a connection on which there was no whole answer counts.
func (c *Convert) ended(asking *convert.Client, err error) error {
	if err != io.EOF && err != io.ErrUnexpectedEOF {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return asking.EOF()
}

// avoid says, once, that the converter is of no use.
func (c *Convert) avoid(converter netip.AddrPort, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.avoided == "" {
		c.wait = min(max(2*c.wait, chanceLeast), chanceMost)
		c.again = c.now().Add(c.wait)
		c.avoided = fmt.Sprintf("the converter at %v is not used, and targets are connected to directly: %v", converter, why)
		c.cfg.Log.Warn(c.avoided)
	}
}

// Bypasses reports whether targets are connected to directly because they speak Multipath TCP themselves.
func (c *Convert) Bypasses(target netip.AddrPort) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cache.Bypasses(c.now(), target)
}

// Avoided says why the converter is not used; "": it is.
func (c *Convert) Avoided() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.avoided
}

// Forget gives the converter another chance, as is due when the way to it has changed.
func (c *Convert) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget()
	c.wait = 0
}

// forget is Forget with mu held. Another address of the converter may have been avoided than is used now.
func (c *Convert) forget() {
	c.cache.Forget()
	c.avoided, c.haste, c.again = "", Hasty, 0
}

// Counters returns those of the cache.
func (c *Convert) Counters() convert.CacheCounters {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cache.Counters()
}

var _ relay.Dialer = (*Convert)(nil)
