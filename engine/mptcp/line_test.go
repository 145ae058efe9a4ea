package mptcp

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"tandem/engine/wire"
)

var flagNames = []struct {
	letter byte
	flag   wire.Flags
}{{'S', wire.SYN}, {'F', wire.FIN}, {'R', wire.RST}, {'.', wire.ACK}}

// print writes a segment of the bond as a line.
func (s *script) print(id PathID, seg *wire.Segment) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d ", id)
	for _, f := range flagNames {
		if seg.Flags.Has(f.flag) {
			b.WriteByte(f.letter)
		}
	}
	from := int32(seg.Seq - s.iss)
	switch n := len(seg.Payload); {
	case seg.Flags.Has(wire.RST) && seg.Seq == 0:
		b.WriteString(" zero")
	case n > 40:
		fmt.Fprintf(&b, " %d:%d", from, int(from)+n)
	default:
		fmt.Fprintf(&b, " %d", from)
	}
	if seg.Flags.Has(wire.ACK) {
		fmt.Fprintf(&b, " ack %d", int32(seg.Ack-peerISS))
	}
	fmt.Fprintf(&b, " win %d", seg.Window)
	if n := len(seg.Payload); n > 0 && n <= 40 {
		fmt.Fprintf(&b, " %q", seg.Payload)
	}
	o := seg.Options
	o.Has &= wire.HasMPTCP | wire.HasFastOpen
	relate(&o, s.own, s.peer, -1)
	if text := o.String(); text != "" {
		fmt.Fprintf(&b, " <%s>", text)
	}
	return b.String()
}

// relate makes data sequence numbers relative (sign -1) or absolute (1); data are those of what the
// sender's octets count from, acks those of its peer's.
func relate(o *wire.Options, data, acks wire.DSN, sign int64) {
	move := func(x *wire.DSN, by wire.DSN, is64 bool) {
		*x += wire.DSN(sign * int64(by))
		if !is64 {
			*x &= 0xffffffff
		}
	}
	if o.Has&wire.HasDSS != 0 {
		move(&o.DSS.Ack, acks, o.DSS.Ack64)
		move(&o.DSS.DSN, data, o.DSS.Map64)
	}
	if o.Has&wire.HasFail != 0 {
		move(&o.FailDSN, acks, true)
	}
}

// octets is the stream that a range stands for.
func octets(from, to int) []byte {
	p := make([]byte, to-from)
	for i := range p {
		p[i] = byte('a' + (from+i)%23)
	}
	return p
}

func number(text string) int {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return int(n)
}

// parse reads a line as a segment of the peer.
func (s *script) parse(line string) (PathID, *wire.Segment) {
	line = names.Replace(line)
	head, options, _ := strings.Cut(line, "<")
	head, text, quoted := strings.Cut(head, `"`)
	fields := strings.Fields(head)
	id := PathID(number(fields[0]))
	end := s.ends[id]
	seg := &wire.Segment{Source: end.remote, Target: end.local, Window: 65535}
	for _, f := range flagNames {
		if strings.IndexByte(fields[1], f.letter) >= 0 {
			seg.Flags |= f.flag
		}
	}
	left, right, ranged := strings.Cut(fields[2], ":")
	seg.Seq = peerISS.Add(number(left))
	if quoted {
		seg.Payload = []byte(text[:strings.LastIndexByte(text, '"')])
	}
	if ranged {
		seg.Payload = octets(number(left), number(right))
	}
	for i := 3; i < len(fields); i += 2 {
		switch fields[i] {
		case "ack":
			seg.Ack = s.iss.Add(number(fields[i+1]))
		case "win":
			seg.Window = uint16(number(fields[i+1]))
		}
	}
	if seg.Flags&wire.SYN != 0 {
		seg.Options.Has |= wire.HasMSS | wire.HasSACKPermitted
		seg.Options.MSS = 1460
	}
	parseOptions(&seg.Options, strings.TrimSuffix(options, ">"))
	relate(&seg.Options, s.peer, s.own, 1)
	return id, seg
}

// parseOptions reads what Options.String writes.
func parseOptions(o *wire.Options, text string) {
	for _, option := range strings.Split(text, ",") {
		w := strings.Fields(option)
		if len(w) == 0 {
			continue
		}
		words := &words{w[1:]}
		switch w[0] {
		case "capable":
			o.Has |= wire.HasCapable
			words.capable(&o.Capable)
		case "join":
			o.Has |= wire.HasJoin
			words.join(&o.Join)
		case "dss":
			o.Has |= wire.HasDSS
			words.dss(&o.DSS)
		case "add_addr":
			o.Has |= wire.HasAddAddr
			words.address(&o.AddAddr)
		case "remove_addr":
			o.Has |= wire.HasRemoveAddr
			for _, id := range words.left {
				o.RemoveAddr.IDs[o.RemoveAddr.N] = uint8(number(strings.Trim(id, "[]")))
				o.RemoveAddr.N++
			}
		case "prio":
			o.Has |= wire.HasPrio
			o.Backup = words.is("backup")
		case "fail":
			o.Has |= wire.HasFail
			o.FailDSN = wire.DSN(number(words.next()))
		case "fastclose":
			o.Has |= wire.HasFastClose
			o.CloseKey = words.hex()
		case "reset":
			o.Has |= wire.HasReset
			o.Reset.Reason = wire.Reason(number(words.next()))
			o.Reset.Transient = words.is("transient")
		case "robe":
			o.Has |= wire.HasRobE
		case "join_cap":
			o.Has |= wire.HasJoinCap
			words.joinCap(&o.JoinCap)
		case "latest_rtt":
			o.Has |= wire.HasLatestRTT
			o.LatestRTT = wire.LatestRTT{Length: 4}
			if len(words.left) > 0 {
				o.LatestRTT = wire.LatestRTT{Length: 8, RTT: uint32(number(words.next()))}
			}
		case "inactivity_time":
			o.Has |= wire.HasInactivityTime
			o.InactivityTime = wire.InactivityTime{Value: uint16(number(words.next())), Minutes: words.next() == "min", Request: words.is("request")}
		case "rate_limit":
			o.Has |= wire.HasRateLimit
			o.RateLimit = wire.Unlimited
			if n := words.next(); n != "none" {
				o.RateLimit = uint32(number(n))
			}
		case "prototype":
			o.Has |= wire.HasPrototype
			o.Prototype = wire.Prototype(number(words.next()))
		case "tfo":
			o.Has |= wire.HasFastOpen
			if len(words.left) > 0 {
				raw, _ := hex.DecodeString(words.next())
				o.Cookie.Len = uint8(copy(o.Cookie.Cookie[:], raw))
			}
		case "timestamps":
			o.Has |= wire.HasTimestamps
			o.TSVal = 1
		case "mss":
			o.Has |= wire.HasMSS
			o.MSS = uint16(number(words.next()))
		case "wscale":
			o.Has |= wire.HasWindowScale
			o.WindowScale = uint8(number(words.next()))
		case "sack":
			o.Has |= wire.HasSACK
			left, right, _ := strings.Cut(words.next(), ":")
			o.SACK[0] = wire.Block{Left: nonceA + wire.Seq(number(left)), Right: nonceA + wire.Seq(number(right))}
			o.SACKs = 1
		default:
			panic("option " + w[0])
		}
	}
}

// words are what is left of an option's text.
type words struct{ left []string }

func (w *words) next() string {
	word := w.left[0]
	w.left = w.left[1:]
	return word
}

func (w *words) is(word string) bool {
	if len(w.left) == 0 || w.left[0] != word {
		return false
	}
	w.next()
	return true
}

func (w *words) hex() uint64 {
	n, err := strconv.ParseUint(w.next(), 16, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func (w *words) capable(m *wire.Capable) {
	m.Length = 4
	m.Version = uint8(number(strings.TrimPrefix(w.next(), "v")))
	if w.is("flags") {
		m.Flags = wire.CapableFlags(w.hex())
	}
	for _, key := range []*uint64{&m.Sender, &m.Receiver} {
		if len(w.left) > 0 && len(w.left[0]) == 16 {
			*key = w.hex()
			m.Length += 8
		}
	}
	if w.is("len") {
		m.Length, m.DataLen = 22, uint16(number(w.next()))
	}
	if w.is("csum") {
		m.Length, m.Checksum = 24, uint16(w.hex())
	}
}

func (w *words) join(j *wire.Join) {
	j.Length = 24
	if w.is("id") {
		j.Length = 16
		j.AddressID = uint8(number(w.next()))
	}
	if w.is("mac") {
		raw, _ := hex.DecodeString(w.next())
		copy(j.MAC[:], raw)
	}
	if w.is("token") {
		j.Length = 12
		j.Token = uint32(w.hex())
	}
	if w.is("nonce") {
		j.Nonce = uint32(w.hex())
	}
	j.Backup = w.is("backup")
}

func (w *words) joinCap(j *wire.JoinCap) {
	w.is("id")
	j.Length, j.AddressID = 24, uint8(number(w.next()))
	w.is("key")
	j.Key = w.hex()
	w.is("mac")
	raw, _ := hex.DecodeString(w.next())
	copy(j.MAC[:], raw)
}

func (w *words) dss(d *wire.DSS) {
	for len(w.left) > 0 {
		switch word := w.next(); word {
		case "ack4", "ack8":
			d.HasAck, d.Ack64 = true, word == "ack8"
			d.Ack = wire.DSN(number(w.next()))
		case "map4", "map8":
			d.HasMap, d.Map64 = true, word == "map8"
			d.DSN = wire.DSN(number(w.next()))
		case "ssn":
			d.SSN = uint32(number(w.next()))
		case "len":
			d.DataLen = uint16(number(w.next()))
		case "fin":
			d.Fin = true
		case "csum":
			d.HasChecksum, d.Checksum = true, uint16(w.hex())
		default:
			panic("dss " + word)
		}
	}
}

func (w *words) address(a *wire.AddAddr) {
	w.is("id")
	a.ID = uint8(number(w.next()))
	a.Addr = netip.MustParseAddr(w.next())
	if w.is("port") {
		a.Port = uint16(number(w.next()))
		a.ZeroPort = a.Port == 0
	}
	if w.is("echo") {
		a.Echo = true
	}
	if w.is("mac") {
		a.MAC = w.hex()
	}
}
