package engine

import (
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// heap returns the octets that are in use once the garbage is gone.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

// greet sends a little over every connection, each way, and waits until all of them are idle.
func greet(t testing.TB, clients, hubs []*Conn) {
	t.Helper()
	p := make([]byte, 4<<10)
	say := func(from, to []*Conn) {
		for i := range from {
			if _, err := from[i].Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(to[i], p[:5]); err != nil {
				t.Fatal(err)
			}
		}
	}
	say(clients, hubs)
	say(hubs, clients)
	time.Sleep(5 * time.Second)
}

// TestIdleConnectionMemory holds what an established connection with two subflows keeps at one end,
// once it has carried something and gone idle, below 8 KiB.
func TestIdleConnectionMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, most = 200, 8 << 10
		w := newCable(t, BondConfig{}, time.Millisecond, 2*time.Millisecond)
		defer w.close()
		before := heap()
		clients, hubs := w.crowd(t, n)
		greet(t, clients, hubs)
		if each := (int64(heap()) - int64(before)) / (2 * n); each > most {
			t.Errorf("%d octets for each end of a connection, more than %d", each, most)
		}
		for _, c := range clients {
			if k := len(c.Subflows()); k != 2 {
				t.Fatalf("%d subflows", k)
			}
		}
		runtime.KeepAlive(hubs)
	})
}
