package convert

import (
	"errors"
	"net/netip"

	"tandem/engine/clock"
	"tandem/engine/wire"
)

// A Verdict is what a converter does with a connection.
type Verdict uint8

// What to do.
const (
	More   Verdict = iota // wait: the message is not whole yet
	Dial                  // connect to Request, then call Connected or Failed
	Close                 // send Answer, if there is one, and close gracefully; never reset
	Ignore                // drop it silently, or do what else the policy is: it is not of this protocol
	Reset                 // reset it
)

// A Request is what a client asks for.
type Request struct {
	Target  netip.AddrPort // never a multicast, broadcast, loopback or unspecified address, never port 0
	Options Options        // beside the converter's own, for its SYN: those without a value get one there
}

// A Converter is the machine for one connection from a client.
type Converter struct {
	gate    *Gate
	client  netip.Addr
	reader  reader
	verdict Verdict
	request Request
	told    TLVSet // what the answer has
	answer  []byte
	waiting bool // for the server
}

// Receive takes octets of the stream. It returns what is behind the message, which is for the server.
func (c *Converter) Receive(now clock.Time, b []byte) (Verdict, []byte) {
	if c.verdict != More {
		return c.verdict, b
	}
	rest, done, err := c.reader.read(b)
	switch {
	case errors.Is(err, ErrVersion):
		c.fail(now, Failure{UnsupportedVersion, []byte{version}})
	case errors.Is(err, ErrLength):
		c.gate.counters.Broken++
		c.verdict = Reset
	case err != nil:
		c.gate.counters.Ignored++
		c.verdict = Ignore
	case done:
		c.decide(now)
	default:
		return More, nil
	}
	return c.verdict, rest
}

// Refuse is for a client that may ask for nothing here: it closes the connection, whatever was said on it.
func (c *Converter) Refuse(now clock.Time) { c.fail(now, Failure{Code: NotAuthorized}) }

// Request returns what to do after Dial.
func (c *Converter) Request() Request { return c.request }

// Answer returns what to send after Close.
func (c *Converter) Answer() []byte { return c.answer }

// Connected returns what to send when the server has accepted; options are those of its SYN/ACK, nil if they
// are not known. What the server says follows.
func (c *Converter) Connected(options []byte) []byte {
	if !c.waiting {
		return nil
	}
	c.End()
	c.gate.counters.Connected++
	options = options[:min(len(options), wire.MaxOptions)]
	m := Message{Has: c.told, Supported: c.gate.cfg.Supported, SYNACK: options}
	if len(options) > 0 {
		m.Has |= HasExtended
	}
	return m.Append(nil)
}

// Failed returns what to send when the server cannot be reached, before closing: nothing if the client has
// been told too many errors.
func (c *Converter) Failed(now clock.Time, f Failure) []byte {
	if !c.waiting {
		return nil
	}
	c.End()
	c.fail(now, f)
	return c.answer
}

// EOF notes that the client will send no more, and returns what to do if that leaves its message cut short.
func (c *Converter) EOF(now clock.Time) Verdict {
	switch {
	case c.verdict != More:
	case c.reader.want == 0:
		c.gate.counters.Ignored++
		c.verdict = Ignore
	default:
		c.fail(now, echo(MalformedMessage, c.reader.got))
	}
	return c.verdict
}

// End notes that nobody waits for the server any more.
func (c *Converter) End() {
	if c.waiting {
		c.waiting = false
		c.gate.leave(c.client)
	}
}

// decide acts on a whole message.
func (c *Converter) decide(now clock.Time) {
	g := c.gate
	message := c.reader.got
	c.reader = reader{}
	var m Message
	err := m.Parse(message)
	switch {
	case errors.Is(err, ErrType):
		c.fail(now, echo(UnsupportedMessage, message))
	case err != nil:
		c.fail(now, echo(MalformedMessage, message))
	case m.Has&HasError != 0:
		g.counters.Broken++
		c.verdict = Reset
	case m.Has&(HasExtended|HasSupported) != 0:
		c.fail(now, echo(UnsupportedMessage, message))
	case m.Has&(HasInfo|HasConnect) == 0:
		c.fail(now, echo(MalformedMessage, message))
	case g.cfg.Cookies && m.Has&HasCookie == 0:
		c.fail(now, Failure{MissingCookie, append([]byte{0}, g.cookie(0, c.client)...)})
	case g.cfg.Cookies && !g.accepts(m.Cookie, c.client):
		c.fail(now, Failure{Code: NotAuthorized})
	case m.Has&HasConnect != 0:
		c.connect(now, &m, message)
	default:
		g.counters.Infos++
		c.verdict = Close
		c.answer = (&Message{Has: HasSupported, Supported: g.cfg.Supported}).Append(nil)
	}
}

// connect acts on a Connect.
func (c *Converter) connect(now clock.Time, m *Message, message []byte) {
	options, refused, ok := m.Options.sort(c.gate.cfg.Supported)
	switch {
	case !dialable(m.Target) || !ok:
		c.fail(now, echo(MalformedMessage, message))
	case len(refused) > 0:
		c.fail(now, Failure{UnsupportedOption, refused})
	case !c.gate.enter(now, c.client):
		c.fail(now, Delayed(ResourceExceeded, c.gate.cfg.Wait))
	default:
		c.gate.counters.Requests++
		c.waiting = true
		c.verdict = Dial
		c.request = Request{m.Target, options}
		if len(m.Options) > 0 {
			c.told |= HasExtended
		}
		if m.Has&HasInfo != 0 {
			c.told |= HasSupported
			c.gate.counters.Infos++
		}
	}
}

// fail closes the connection, telling why unless the client was told too much already.
func (c *Converter) fail(now clock.Time, f Failure) {
	c.gate.counters.Errors[f.Code]++
	c.verdict = Close
	if c.gate.mayTell(now, c.client) {
		c.answer = (&Message{Has: HasError, Error: f}).Append(nil)
	}
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// dialable reports whether a Connect may name a target (RFC 8803 6.2.5).
func dialable(target netip.AddrPort) bool {
	a := target.Addr()
	return target.Port() != 0 && !a.IsMulticast() && !a.IsLoopback() && !a.IsUnspecified() && a != broadcast
}
