package native

import (
	"io"
	"strings"
	"testing"

	"tandem/engine/wire"
)

// BenchmarkSend sends batches of segments as long as the link takes, to where nobody answers.
func BenchmarkSend(b *testing.B) {
	w := newWorld(b)
	w.there.do(func() error {
		h, err := newHold("eth0", true, first, last)
		b.Cleanup(func() { h.release() })
		return err
	})
	for _, p := range pairs {
		b.Run(p.name, func(b *testing.B) {
			c := w.open(w.config(func([][]byte) {}))
			defer c.Close()
			var pkts [][]byte
			for range sendBatch {
				pkts = append(pkts, segment(p.here, p.there, first, first, strings.Repeat("x", 1400)))
			}
			b.SetBytes(int64(sendBatch * len(pkts[0])))
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Send(pkts); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReceive has the kernel send through a connection.
func BenchmarkReceive(b *testing.B) {
	w := newWorld(b)
	for _, p := range pairs {
		b.Run(p.name, func(b *testing.B) {
			const piece = 1 << 20
			h := newHand(b, port(p.here, first), port(p.there, 80))
			h.forget = true
			l, err := w.listenThere(h.remote.String())
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				defer c.Close()
				ask := make([]byte, 1)
				for {
					if _, err := io.ReadFull(c, ask); err != nil {
						return
					}
					c.Write(make([]byte, piece))
				}
			}()
			h.carrier = w.open(w.config(h.deliver))
			defer h.carrier.Close()
			h.connect()
			b.SetBytes(piece)
			b.ReportAllocs()
			want := h.ack
			for b.Loop() {
				want += piece
				h.say(wire.ACK, "!")
				h.wait("piece", func() bool { return h.ack == want })
			}
		})
	}
}
