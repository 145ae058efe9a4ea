package engine

import (
	"fmt"
	"io"
	"runtime"
	"sync/atomic"
	"testing"

	"tandem/engine/mptcp"
)

// benchLimits leave room for many connections.
var benchLimits = Limits{Limits: mptcp.Limits{Connections: 1 << 15, Offers: 1 << 12, Buffered: 1 << 30}}

// oneCore gives the benchmark one core for both ends, as the figures are meant.
func oneCore(b *testing.B) {
	before := runtime.GOMAXPROCS(1)
	b.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

// sent returns how many packets have left both ends.
func (w *cable) sent() (n int) {
	for _, l := range append(w.up, w.down...) {
		l.mu.Lock()
		n += l.sent
		l.mu.Unlock()
	}
	return n
}

// BenchmarkBulk moves one stream over two paths with packets of 1400 octets: both ends, with all
// copies and checksums, on one core. An operation is 64 KiB; a segment is one of those with data, so
// what the acknowledgements cost is in the figure.
func BenchmarkBulk(b *testing.B) {
	oneCore(b)
	w := newCable(b, BondConfig{}, 0, 0)
	defer w.close()
	client, hub := w.dial(b)
	const piece = 64 << 10
	go io.CopyN(client, zeros{}, 64<<20)
	if _, err := io.CopyN(io.Discard, struct{ io.Reader }{hub}, 64<<20); err != nil {
		b.Fatal(err)
	}
	before, packets := mallocs(), w.sent()
	b.SetBytes(piece)
	b.ResetTimer()
	go func() {
		buf := make([]byte, piece)
		for range b.N {
			client.Write(buf)
		}
	}()
	buf := make([]byte, piece)
	for left := b.N * piece; left > 0; {
		n, err := hub.Read(buf)
		if left -= n; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	segments := float64(b.N) * piece / 1348
	b.ReportMetric(float64(b.N)*piece*8/1e6/b.Elapsed().Seconds(), "Mbit/s")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/segments, "ns/segment")
	b.ReportMetric(float64(mallocs()-before)/segments, "allocs/segment")
	b.ReportMetric(float64(w.sent()-packets)/segments, "packets/segment")
	b.ReportMetric(float64(w.overflows()), "overflows")
}

// overflows returns how many packets came too fast for either loop: figures with any are void.
func (w *cable) overflows() uint64 { return w.client.Counters().Overflows + w.hub.Counters().Overflows }

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// BenchmarkIdleConn reports what an established connection with two subflows holds at one end.
func BenchmarkIdleConn(b *testing.B) {
	const n = 1000
	for b.Loop() {
		w := newCable(b, BondConfig{Limits: &benchLimits}, 0, 0)
		before := heap()
		clients, hubs := w.crowd(b, n)
		greet(b, clients, hubs)
		subflows := 0
		for _, c := range clients {
			subflows += len(c.Subflows())
		}
		b.ReportMetric(float64(heap()-before)/n/2, "B/end")
		b.ReportMetric(float64(subflows)/n, "subflows/conn")
		runtime.KeepAlive(hubs)
		w.close()
	}
}

// BenchmarkConns sends on many connections in turn, sixteen segments on each, and tells what a segment costs
// from Write to Read, at both ends: a cost that grows with the number is work that nobody asked for.
// A thousand segments are on their way at any time.
func BenchmarkConns(b *testing.B) {
	const segment, some = 1348, 16
	for _, n := range []int{1, 10, 100, 1000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			oneCore(b)
			w := newCable(b, BondConfig{Limits: &benchLimits}, 0, 0)
			defer w.close()
			clients, hubs := w.crowd(b, n)
			var got atomic.Int64
			come := make(chan struct{}, 1)
			for _, c := range hubs {
				go collect(c, &got, come)
			}
			p, sent, next := make([]byte, some*segment), int64(0), 0
			await := func(most int) {
				for sent-got.Load() > int64(most) {
					<-come
				}
			}
			send := func(segments int) {
				for ; segments > 0; segments -= some {
					if _, err := clients[next%n].Write(p); err != nil {
						b.Fatal(err)
					}
					next++
					sent += int64(len(p))
					await(64 * len(p))
				}
				await(0)
			}
			send(max(10000, 2*some*n))
			runtime.GC()
			before := mallocs()
			b.ResetTimer()
			send(b.N)
			b.StopTimer()
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N), "ns/segment")
			b.ReportMetric(float64(mallocs()-before)/float64(b.N), "allocs/segment")
			b.ReportMetric(float64(w.overflows()), "overflows")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// collect reads to the end, adds what comes to got, and signals that it did.
func collect(c *Conn, got *atomic.Int64, come chan<- struct{}) {
	buf := make([]byte, 4<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		got.Add(int64(n))
		select {
		case come <- struct{}{}:
		default:
		}
	}
}
