package convert

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// ErrStripped says that a middlebox took away what stood in the SYN.
var ErrStripped = errors.New("request did not arrive with the SYN")

// ErrUnreached says that there was no connection to the converter, over no path.
var ErrUnreached = errors.New("converter was not reached")

// cookieMax is the longest cookie that fits into a message beside all else that a client asks.
const cookieMax = MaxLen - HeaderLen - tlvLen - tlvLen - connectLen - wire.MaxOptions

// ClientConfig says what to ask of whom.
type ClientConfig struct {
	Converter netip.AddrPort
	Target    netip.AddrPort // invalid: nothing but what the converter supports
	Options   Options        // for the SYN to the target, none if longer than 40 octets
	Info      bool           // ask what it supports as well
}

// A Client asks a converter for one connection to a target, and again on another connection when the
// converter's answer advises that.
type Client struct {
	cache   *Cache
	cfg     ClientConfig
	asked   Message // in this attempt
	reader  reader
	done    bool
	refusal *Refusal
	answer  Answer

	path     Path   // that attempts begin on
	disputed []byte // the cookie that the converter gave last, or did not accept
	base     bool   // options have been tried, and are not again
}

// An Answer is what came with the converter's consent.
type Answer struct {
	Supported []uint8 // kinds of options, if asked
	Extended  bool    // it came with the options of the server's SYN/ACK
	Options   []byte  // these, as they stood in the header
	MPTCP     bool    // and they say that the server speaks Multipath TCP
}

// Advice is what to do about a Refusal, beside resetting the connection.
type Advice uint8

// What to do.
const (
	GiveUp        Advice = iota // tell the application: errors.Is finds the errno of connect
	CookieRetry                 // ask again over the same path, with the cookie that was given
	NoCookieRetry               // ask again over the same path, without the cookie that was not accepted
	BaseRetry                   // ask again, without options
	BackOff                     // ask this converter for nothing for a while
	Avoid                       // ask this converter for nothing at all
)

// Retry reports whether to ask again: on a new connection to the converter, with what Append writes then.
func (a Advice) Retry() bool { return a == CookieRetry || a == NoCookieRetry || a == BaseRetry }

// A Refusal is why a converter did not connect its client to the target.
type Refusal struct {
	Advice Advice
	Delay  time.Duration // BackOff
	Told   bool          // the converter has told Code; Err is what connect would say
	Code   Code
	Err    error
}

func (r *Refusal) Error() string {
	if r.Told {
		return fmt.Sprintf("converter: %v", r.Code)
	}
	return fmt.Sprintf("converter: %v", r.Err)
}

// Unwrap returns Err.
func (r *Refusal) Unwrap() error { return r.Err }

// NewClient returns a client that has asked for nothing yet.
func NewClient(cache *Cache, cfg ClientConfig) *Client {
	if len(cfg.Options) > wire.MaxOptions {
		cfg.Options = nil
	}
	return &Client{cache: cache, cfg: cfg}
}

// Path is where a connection to the converter should begin, so that the cookie in what Append writes is good; 0: anywhere.
func (c *Client) Path() Path { return c.path }

// Began notes where it did begin, which is to be known before Receive.
func (c *Client) Began(path Path) {
	if path != c.path {
		c.path, c.disputed = path, nil
	}
	c.cache.state(c.cfg.Converter).path = path
}

// Append begins an attempt and appends what opens its connection to the converter. The application's first
// octets may follow in the same segment.
func (c *Client) Append(b []byte) []byte {
	c.reader, c.done, c.refusal, c.answer = reader{}, false, nil, Answer{}
	m := Message{}
	if c.cfg.Info || !c.cfg.Target.IsValid() {
		m.Has |= HasInfo
	}
	path := c.path
	if path == 0 {
		path = c.cache.lastPath(c.cfg.Converter)
	}
	if m.Cookie = c.cache.cookie(c.cfg.Converter, path); len(m.Cookie) > 0 {
		m.Has |= HasCookie
	}
	if c.cfg.Target.IsValid() {
		m.Has |= HasConnect
		m.Target = plain(c.cfg.Target)
		if !c.base {
			m.Options = c.cache.options(c.cfg.Converter, c.cfg.Options)
		}
	}
	c.asked = m
	return m.Append(b)
}

// Receive takes octets of the stream and returns what is behind the answer, which the server has said. It
// says done once the whole answer is here and the converter has consented. The error, a Refusal, means that
// the connection is to be reset.
func (c *Client) Receive(now clock.Time, b []byte) (rest []byte, done bool, err error) {
	if c.refusal != nil {
		return nil, false, c.refusal
	}
	if c.done {
		return b, true, nil
	}
	rest, done, err = c.reader.read(b)
	switch {
	case err != nil:
		c.refusal = c.avoid(err)
	case done:
		c.refusal = c.judge(now)
	}
	if c.refusal != nil {
		return nil, false, c.refusal
	}
	c.done = done
	return rest, done, nil
}

// Answer returns what the converter answered, once it has.
func (c *Client) Answer() Answer { return c.answer }

// Stripped notes that the SYN/ACK did not acknowledge what the SYN carried, so that something on the way to
// the converter took it away (RFC 8803 8), and returns the Refusal.
func (c *Client) Stripped() error {
	c.refusal = c.avoid(ErrStripped)
	return c.refusal
}

// Unreached notes that there is no connection to the converter, and returns the Refusal: it is asked for nothing for a while.
func (c *Client) Unreached(now clock.Time) error {
	c.refusal = &Refusal{Advice: BackOff, Delay: delayUntold, Err: ErrUnreached}
	c.cache.backOff(c.cfg.Converter, now.Add(delayUntold), c.cfg.Target.Addr(), true)
	return c.refusal
}

// EOF notes that the stream has ended and returns nil if the answer was whole, else the Refusal.
func (c *Client) EOF() error {
	if c.done {
		return nil
	}
	if c.refusal == nil {
		c.refusal = &Refusal{Err: io.ErrUnexpectedEOF}
	}
	return c.refusal
}

// avoid: who does not answer as a converter does is none, or is not reached unhurt.
func (c *Client) avoid(why error) *Refusal {
	c.cache.Avoid(c.cfg.Converter)
	return &Refusal{Advice: Avoid, Err: why}
}

// judge acts on a whole answer. It returns nil if the converter has consented.
func (c *Client) judge(now clock.Time) *Refusal {
	var m Message
	if err := m.Parse(c.reader.got); err != nil {
		return c.avoid(err)
	}
	if m.Has&(HasInfo|HasCookie|HasConnect) != 0 {
		return c.avoid(ErrType)
	}
	if m.Has&HasSupported != 0 {
		c.cache.setSupported(c.cfg.Converter, m.Supported)
	}
	if m.Has&HasError != 0 {
		return c.refused(now, m.Error)
	}
	c.answer = Answer{Supported: m.Supported, Extended: m.Has&HasExtended != 0, Options: m.SYNACK}
	if c.answer.MPTCP = speaksMPTCP(m.SYNACK); c.answer.MPTCP && c.asked.Has&HasConnect != 0 {
		c.cache.Bypass(now, c.cfg.Target)
	}
	return nil
}

// refused acts on an Error TLV.
func (c *Client) refused(now clock.Time, f Failure) *Refusal {
	r := &Refusal{Told: true, Code: f.Code, Err: f.Errno(c.cfg.Target.Addr())}
	converter, withCookie := c.cfg.Converter, c.asked.Has&HasCookie != 0
	switch f.Code {
	case UnsupportedVersion:
		c.cache.Avoid(converter)
		r.Advice = Avoid
	case MissingCookie:
		cookie := f.Cookie()
		if !withCookie && len(cookie) > 0 && len(cookie) <= cookieMax {
			c.cache.setCookie(converter, c.path, cookie)
			if c.dispute(cookie) {
				r.Advice = CookieRetry
			}
		}
	case NotAuthorized:
		if withCookie && c.dispute(c.asked.Cookie) {
			c.cache.dropCookie(converter, c.path, c.asked.Cookie)
			r.Advice = NoCookieRetry
		}
	case UnsupportedOption:
		c.cache.refuse(converter, f.Kinds())
		if len(c.asked.Options) > 0 {
			c.base = true
			r.Advice = BaseRetry
		}
	case ResourceExceeded, NetworkFailure:
		r.Advice, r.Delay = BackOff, f.Delay()
		all := f.Code == ResourceExceeded || !c.cfg.Target.IsValid()
		c.cache.backOff(converter, now.Add(r.Delay), c.cfg.Target.Addr(), all)
	}
	return r
}

// dispute notes that the converter gave a cookie, or did not accept it, and reports whether to ask again: if it does both,
// it is the target for which nobody is authorized.
func (c *Client) dispute(cookie []byte) bool {
	again := !bytes.Equal(cookie, c.disputed)
	c.disputed = cookie
	return again
}
