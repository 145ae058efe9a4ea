package native

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"tandem/engine/wire"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// A hand is a TCP connection made by hand: it sends when it is told, and acknowledges what comes in order.
type hand struct {
	t             testing.TB
	carrier       *Carrier
	local, remote netip.AddrPort

	mu       sync.Mutex
	changed  chan struct{}
	seq, ack wire.Seq // of what goes next, and is expected next
	acked    wire.Seq
	answered bool // there was a SYN/ACK
	reset    bool
	finished bool
	got      []byte
	forget   bool // got stays empty
	faults   []string
}

func newHand(t testing.TB, local, remote netip.AddrPort) *hand {
	return &hand{t: t, local: local, remote: remote, seq: 1000, changed: make(chan struct{}, 1)}
}

// deliver is for the carrier's configuration.
func (h *hand) deliver(pkts [][]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	came := false
	for _, pkt := range pkts {
		var s wire.Segment
		if err := s.Parse(pkt); err != nil {
			h.faults = append(h.faults, err.Error())
			continue
		}
		if len(pkt) > 1500 {
			h.faults = append(h.faults, fmt.Sprintf("%d octets in a packet", len(pkt)))
		}
		if s.Source == h.remote && s.Target == h.local {
			h.receive(&s)
			came = came || s.Len() > 0
		}
	}
	if came {
		h.send(wire.ACK, "")
	}
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

func (h *hand) receive(s *wire.Segment) {
	h.reset = h.reset || s.Flags.Has(wire.RST)
	if s.Flags.Has(wire.SYN) && !h.answered {
		h.answered, h.ack = true, s.Seq
	}
	if s.Flags.Has(wire.ACK) {
		h.acked = s.Ack
	}
	if s.Seq != h.ack {
		return
	}
	h.ack += wire.Seq(s.Len())
	if !h.forget {
		h.got = append(h.got, s.Payload...)
	}
	h.finished = h.finished || s.Flags.Has(wire.FIN)
}

// send sends a segment that nobody repeats. The mutex must be held.
func (h *hand) send(flags wire.Flags, payload string) {
	s := wire.Segment{Source: h.local, Target: h.remote, Seq: h.seq, Ack: h.ack, Flags: flags, Window: 0xffff, Payload: []byte(payload)}
	if flags == wire.SYN {
		s.Ack, s.Options.Has, s.Options.MSS, s.Options.WindowScale = 0, wire.HasMSS|wire.HasWindowScale, 1400, 8
	}
	h.seq += wire.Seq(s.Len())
	if err := h.carrier.Send([][]byte{s.Append(nil)}); err != nil {
		h.faults = append(h.faults, err.Error())
	}
}

func (h *hand) say(flags wire.Flags, payload string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.send(flags, payload)
}

// wait waits until something holds of the connection.
func (h *hand) wait(what string, holds func() bool) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	for {
		h.mu.Lock()
		held := holds()
		faults := h.faults
		h.mu.Unlock()
		if len(faults) > 0 {
			h.t.Fatalf("while waiting for %s: %q", what, faults[:min(len(faults), 5)])
		}
		if held {
			return
		}
		select {
		case <-h.changed:
		case <-ctx.Done():
			h.t.Fatalf("no %s: acknowledged %d of %d, %d octets came; %+v", what, h.acked, h.seq, len(h.got), h.carrier.Counters())
		}
	}
}

// connect shakes hands.
func (h *hand) connect() {
	h.t.Helper()
	h.say(wire.SYN, "")
	h.wait("SYN/ACK", func() bool { return h.answered && h.acked == h.seq })
}
