// Package convert is the 0-RTT TCP Convert Protocol (RFC 8803): a client asks a transport converter, in the
// first octets of a connection, to be connected to a server, and learns in the first octets that come back
// how that went. What follows them in either direction is the application's.
//
//	client ── upstream: Multipath TCP ── converter ── downstream: TCP ── server
//
// Message is the codec. [Client] and [Converter] are the roles, machines without I/O that are driven with the
// octets of one connection, in whatever pieces they come. A [Cache] is what clients remember of converters and
// servers, a [Gate] what the connections to one converter share: its secrets and its limits.
//
// The client's side, for a connection to target:
//
//	if !cache.Via(now, converter, target)     // back off, interference, or the server speaks MPTCP itself
//	c := NewClient(cache, ClientConfig{…})
//	c.Append(nil)                             // into the SYN, or first in the stream; data may follow at once
//	c.Began(path)                             // what that began on, if there are several: c.Path() unless that is 0
//	c.Stripped()                              // if the SYN/ACK did not cover it
//	c.Unreached(now)                          // if there was no SYN/ACK
//	rest, done, err := c.Receive(now, octets) // until done: rest is what the server said
//	c.EOF()                                   // if the stream ended before
//
// An error resets the connection. If it is a [Refusal] that advises to ask again, Append writes what to ask
// on a new one.
//
// The converter's side, for a connection that came in:
//
//	c := gate.Open(client)
//	verdict, rest := c.Receive(now, octets)   // until it is not More: rest is for the server
//	c.Request()                               // Dial: whom, and with which options in the SYN
//	c.Connected(options)                      // the answer, once the server's SYN/ACK is here
//	c.Failed(now, FailureOf(err, target))     // or why it did not come; then close, never reset
//	c.Answer()                                // Close: what to say before closing
//	c.End()                                   // when the connection is gone, whatever happened
//
// # The message
//
// Numbers are big-endian, lengths are in words of 32 bits and include what they stand in.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------+---------------+-------------------------------+
//	|  Version = 1  | Total Length  |     Magic Number = 0x2263     |
//	+---------------+---------------+-------------------------------+
//	|     Type      |    Length     |  Value, zeros up to a word …  |
//	+---------------+---------------+-------------------------------+
//
//	 1 Info                      Zero(2)
//	10 Connect                   Port(2) Address(16, IPv4 as ::ffff:a.b.c.d) TCP options
//	20 Extended TCP Header       Zero(2) TCP options of the server's SYN/ACK
//	21 Supported TCP Extensions  Zero(2) Kinds of TCP options(1 each)
//	22 Cookie                    Zero(2) Cookie
//	30 Error                     Code(1) Value
//
// # What the RFC leaves open
//
// Info and Connect may come in one message. A delay of one octet is the whole value; a longer value is one
// number. A TCP option that must come without a value and has one is malformed, as are port 0 and the
// unspecified address. An error is never answered with an error. A client whose cookie is not accepted drops
// it and asks without; if it is then given the same one, the server is what it may not reach. It has a cookie
// for each path, since converters make them of the address that they see. A network failure stops it from
// asking for servers of that family only; a converter that is not reached is as one without resources, so that it is not
// worse than none. Whoever dials for a converter sends a server no second SYN before the client's handshake is over: one SYN,
// which anybody can send in a client's name, leads to one (RFC 8803 9.3). Limits take all addresses of an IPv6 /64 for one client.
//
// # What is not here
//
// Connections that a converter passes to its client (RFC 8803 5.2).
package convert
