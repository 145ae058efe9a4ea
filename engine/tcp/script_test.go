package tcp

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/path"
	"tandem/engine/wire"
)

// script plays the peer of one subflow, in lines such as
//
//	S. 0 ack 1 win 1000 <mss 1000,sackOK,ws 7,ts 5:0,tfo 01020304>
//	P. 1:101 ack 1 ect0 <sack 5:9 20:30>
//
// Sequence numbers count from each side's SYN, although those on the wire begin just before the wrap.
type script struct {
	*host
	t       *testing.T
	now     clock.Time
	control *fixed
	buf     []byte
}

const (
	ownISS  wire.Seq = 0xffffff00
	peerISS wire.Seq = 0xfffffe00
)

const (
	ms     = time.Millisecond
	second = time.Second
)

// newScript opens a subflow whose SYN has not left.
func newScript(t *testing.T, config func(*Config)) *script {
	s := blankScript(t)
	s.sub = Open(s.now, s.config(config), s.host)
	return s
}

// listening returns a subflow for the SYN in line.
func listening(t *testing.T, line string, config func(*Config)) *script {
	s := blankScript(t)
	s.sub = Listen(s.now, s.config(config), s.host, s.parse(line))
	return s
}

// established returns a subflow after its handshake, which took 100 ms. Of the peer's options offer replaces the usual ones.
func established(t *testing.T, offer string, config func(*Config)) *script {
	t.Helper()
	s := newScript(t, config)
	s.transmit()
	s.advance(100 * ms)
	if offer == "" {
		offer = "<mss 1400,sackOK>"
	}
	s.recv("S. 0 ack 1 win 65535 " + offer)
	s.transmit()
	s.sub.ack.quick = 0
	if s.sub.State() != Established {
		t.Fatalf("state %d after the handshake", s.sub.State())
	}
	return s
}

func blankScript(t *testing.T) *script {
	s := &script{t: t, now: clock.Time(second), control: &fixed{1 << 20}, buf: make([]byte, 1500)}
	s.host = &host{t: t, path: path.New(s.control, 1440)}
	return s
}

func (s *script) config(config func(*Config)) Config {
	c := Config{Local: addrA, Remote: addrB, Path: s.path, ISS: ownISS}
	if config != nil {
		config(&c)
	}
	return c
}

// push names n more octets as one chunk.
func (s *script) push(n int) {
	s.sub.Push(base+s.pushed, n)
	s.pushed += uint64(n)
}

// recv has the subflow receive the segment in line.
func (s *script) recv(line string) {
	s.t.Helper()
	s.sub.Receive(s.now, s.parse(line))
	checkInvariants(s.t, s.sub)
}

// advance lets time pass; what falls due within happens at the end.
func (s *script) advance(d time.Duration) {
	s.t.Helper()
	s.now = s.now.Add(d)
	s.sub.Advance(s.now)
	checkInvariants(s.t, s.sub)
}

// transmit returns all that leaves now.
func (s *script) transmit() (lines []string) {
	s.t.Helper()
	for range 200 {
		pkt, ok := s.sub.Transmit(s.now, s.buf)
		if !ok {
			checkInvariants(s.t, s.sub)
			return lines
		}
		var seg wire.Segment
		if err := seg.Parse(pkt); err != nil {
			s.t.Fatal(err)
		}
		lines = append(lines, s.print(&seg))
	}
	s.t.Fatalf("does not stop: %v", lines[190:])
	return nil
}

// want fails unless just these segments leave now. A line without win, without options or without ts leaves them open.
func (s *script) want(lines ...string) {
	s.t.Helper()
	got := s.transmit()
	for i := range max(len(got), len(lines)) {
		switch {
		case i >= len(got):
			s.t.Fatalf("missing: %s", lines[i])
		case i >= len(lines):
			s.t.Fatalf("too much: %s", got[i])
		case !matches(got[i], lines[i]):
			s.t.Fatalf("segment %d\n got %s\nwant %s", i, got[i], lines[i])
		}
	}
}

func matches(got, want string) bool {
	if got == want {
		return true
	}
	head, options, _ := strings.Cut(got, " <")
	wantHead, wantOptions, closed := strings.Cut(want, " <")
	if i := strings.Index(head, " win "); i >= 0 && !strings.Contains(wantHead, " win ") {
		rest := strings.Fields(head[i+5:])
		head = strings.Join(append([]string{head[:i]}, rest[1:]...), " ")
	}
	return head == wantHead && (!closed && !strings.Contains(options, "sack ") || options == wantOptions)
}

// wantState fails unless the subflow is in a state, for a reason.
func (s *script) wantState(state State, err error) {
	s.t.Helper()
	if s.sub.State() != state || s.sub.Err() != err {
		s.t.Fatalf("state %d, error %v; want %d, %v", s.sub.State(), s.sub.Err(), state, err)
	}
}

func (s *script) wantGot(n uint64) {
	s.t.Helper()
	if s.got != n {
		s.t.Fatalf("%d octets delivered, want %d", s.got, n)
	}
}

var flagNames = []struct {
	letter byte
	flag   wire.Flags
}{{'S', wire.SYN}, {'F', wire.FIN}, {'R', wire.RST}, {'P', wire.PSH}, {'E', wire.ECE}, {'W', wire.CWR}, {'.', wire.ACK}}

func (s *script) print(seg *wire.Segment) string {
	var b strings.Builder
	for _, f := range flagNames {
		if seg.Flags.Has(f.flag) {
			b.WriteByte(f.letter)
		}
	}
	from := int32(seg.Seq - ownISS)
	if seg.Flags.Has(wire.RST) && seg.Seq == 0 {
		b.WriteString(" zero")
	} else if n := len(seg.Payload); n > 0 {
		fmt.Fprintf(&b, " %d:%d", from, int(from)+n)
	} else {
		fmt.Fprintf(&b, " %d", from)
	}
	if seg.Flags.Has(wire.ACK) {
		fmt.Fprintf(&b, " ack %d", int32(seg.Ack-peerISS))
	}
	fmt.Fprintf(&b, " win %d", seg.Window)
	if seg.TOS&3 != 0 {
		fmt.Fprintf(&b, " %s", [...]string{"", "ect1", "ect0", "ce"}[seg.TOS&3])
	}
	if text := s.printOptions(&seg.Options); text != "" {
		fmt.Fprintf(&b, " <%s>", text)
	}
	for i, c := range seg.Payload {
		if off := uint64(from) - 1 + uint64(i); seg.Flags.Has(wire.SYN) == false && c != octetAt(s.seed, off) {
			s.t.Fatalf("octet %d is wrong", off)
		}
	}
	return b.String()
}

func (s *script) printOptions(o *wire.Options) string {
	var all []string
	add := func(has wire.OptionSet, format string, args ...any) {
		if o.Has&has != 0 {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	add(wire.HasMSS, "mss %d", o.MSS)
	add(wire.HasSACKPermitted, "sackOK")
	add(wire.HasWindowScale, "ws %d", o.WindowScale)
	add(wire.HasTimestamps, "ts %d:%d", o.TSVal, o.TSEcr)
	add(wire.HasFastOpen, "tfo %x", o.Cookie.Cookie[:o.Cookie.Len])
	sack := "sack"
	for _, k := range o.SACK[:o.SACKs] {
		sack += fmt.Sprintf(" %d:%d", int32(k.Left-peerISS), int32(k.Right-peerISS))
	}
	add(wire.HasSACK, "%s", sack)
	return strings.Join(all, ",")
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return n
}

// parse reads a line as a segment of the peer.
func (s *script) parse(line string) *wire.Segment {
	head, options, _ := strings.Cut(strings.TrimSuffix(line, ">"), "<")
	fields := strings.Fields(head)
	seg := &wire.Segment{Source: addrB, Target: addrA, Window: 65535}
	for _, f := range flagNames {
		if strings.IndexByte(fields[0], f.letter) >= 0 {
			seg.Flags |= f.flag
		}
	}
	left, right, ranged := strings.Cut(fields[1], ":")
	seg.Seq = peerISS.Add(number(left))
	if ranged {
		first := number(left)
		if seg.Flags.Has(wire.SYN) {
			first++
		}
		seg.Payload = make([]byte, number(right)-number(left))
		for i := range seg.Payload {
			seg.Payload[i] = octetAt(^s.seed, uint64(first-1+i))
		}
	}
	for i := 2; i < len(fields); i++ {
		switch fields[i] {
		case "ack":
			i++
			seg.Ack = ownISS.Add(number(fields[i]))
		case "win":
			i++
			seg.Window = uint16(number(fields[i]))
		case "ce":
			seg.TOS = wire.CE
		}
	}
	parseOptions(&seg.Options, options)
	return seg
}

func parseOptions(o *wire.Options, text string) {
	for _, option := range strings.Split(text, ",") {
		words := strings.Fields(option)
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "mss":
			o.Has |= wire.HasMSS
			o.MSS = uint16(number(words[1]))
		case "sackOK":
			o.Has |= wire.HasSACKPermitted
		case "ws":
			o.Has |= wire.HasWindowScale
			o.WindowScale = uint8(number(words[1]))
		case "ts":
			val, ecr, _ := strings.Cut(words[1], ":")
			o.Has |= wire.HasTimestamps
			o.TSVal, o.TSEcr = uint32(number(val)), uint32(number(ecr))
		case "tfo":
			o.Has |= wire.HasFastOpen
			var raw []byte
			fmt.Sscanf(words[1], "%x", &raw)
			o.Cookie.Len = uint8(copy(o.Cookie.Cookie[:], raw))
		case "dss":
			o.Has |= wire.HasDSS
		case "prio":
			o.Has |= wire.HasPrio
		case "sack":
			o.Has |= wire.HasSACK
			for _, block := range words[1:] {
				left, right, _ := strings.Cut(block, ":")
				o.SACK[o.SACKs] = wire.Block{Left: ownISS.Add(number(left)), Right: ownISS.Add(number(right))}
				o.SACKs++
			}
		}
	}
}
