package capture

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"tandem/engine/wire"
	"tandem/tunnel/packet"
)

// garbage is a packet of one kind or another, of which octets may be wrong, missing or too many.
func garbage(r *rand.Rand) []byte {
	source, target := host4, target4.Addr()
	if r.IntN(2) == 0 {
		source, target = host6, target6.Addr()
	}
	if r.IntN(4) == 0 {
		source, target = target, source
	}
	p := packet.Packet{Source: source, Target: target, Protocol: wire.TCP, ID: r.Uint32()}
	body := make([]byte, r.IntN(80))
	if r.IntN(20) == 0 {
		body = make([]byte, 60000)
	}
	for i := range min(len(body), 40) {
		body[i] = byte(r.Uint32())
	}
	if len(body) >= 20 {
		body[12] = byte(5+r.IntN(11)) << 4
		body[13] = []byte{0x02, 0x10, 0x04, 0x12, 0x11, 0x29, 0, 0xff}[r.IntN(8)]
		body[16], body[17] = 0, 0
		if r.IntN(8) > 0 {
			s := ^sum(append(source.AsSlice(), target.AsSlice()...), body)
			body[16], body[17] = byte(s>>8), byte(s)
		}
	}
	p.Body = body
	pkt := p.Append(nil)
	switch r.IntN(6) {
	case 0:
		pkt = pkt[:r.IntN(len(pkt)+1)]
	case 1:
		for range 1 + r.IntN(3) {
			pkt[r.IntN(min(len(pkt), 60))] = byte(r.Uint32())
		}
	case 2:
		pkt = append(pkt, make([]byte, r.IntN(40))...)
	case 3:
		if pkt[0]>>4 == 4 {
			pkt[6], pkt[7] = byte(r.IntN(64)), byte(r.Uint32()) // a fragment, with a wrong checksum
		} else {
			pkt[6] = []byte{0, 43, 44, 60, 50, 59}[r.IntN(6)]
		}
	}
	return pkt
}

// TestGarbage: whatever applications send, those that speak properly are served, nothing waits for ever, and all ends.
func TestGarbage(t *testing.T) {
	h := newHost(t, 1408, func(c *Config) { c.SYNs, c.SYNsPerTarget = 256, 256 })
	go func() {
		for {
			o, err := h.capture.Accept(context.Background())
			if err != nil {
				return
			}
			if o.Target() != target4 {
				o.Refuse(context.DeadlineExceeded)
				continue
			}
			go func() {
				if s, err := o.Accept(); err == nil {
					s.Write([]byte("hello"))
					s.Close()
				}
			}()
		}
	}()
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		select {
		case h.device.in <- garbage(r):
		case <-time.After(10 * time.Second):
			t.Fatal("the device is not read any more")
		}
	}
	n := h.capture.Counters()
	if n.Malformed == 0 || n.Offers == 0 {
		t.Errorf("garbage that is none: %+v", n)
	}
	h.capture.offers.mu.Lock()
	waiting := len(h.capture.offers.waiting)
	h.capture.offers.mu.Unlock()
	if waiting > 256 {
		t.Errorf("%d offers wait", waiting)
	}
	done := make(chan struct{})
	go func() { h.stop(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("the capture does not end")
	}
}
