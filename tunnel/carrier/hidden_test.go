package carrier_test

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"

	"tandem/tunnel/carrier"
)

// A wiretap is the hub's socket, and keeps what crosses it.
type wiretap struct {
	conn.Bind
	mu   sync.Mutex
	seen []byte
}

func (w *wiretap) keep(p []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, p...)
}

func (w *wiretap) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	all, port, err := w.Bind.Open(port)
	for i, receive := range all {
		all[i] = func(bufs [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
			n, err := receive(bufs, sizes, eps)
			for k := range n {
				w.keep(bufs[k][:sizes[k]])
			}
			return n, err
		}
	}
	return all, port, err
}

func (w *wiretap) Send(bufs [][]byte, ep conn.Endpoint) error {
	for _, p := range bufs {
		w.keep(p)
	}
	return w.Bind.Send(bufs, ep)
}

// RFC 7430 5: who hears the first handshake of a connection has its keys. Inside a carrier it is not to be heard: of
// keys, token, addresses and octets not one is on the wire.
func TestHandshakeIsHidden(t *testing.T) {
	play(t, 1, func(t *testing.T, s *scene) {
		s.hub.Close()
		w := &wiretap{Bind: s.network.Hub()}
		hub, err := carrier.Listen(carrier.HubConfig{Private: s.key, Bind: w})
		if err != nil {
			t.Fatal(err)
		}
		s.hub = hub
		c := s.clients[0]
		s.admit(0, c.peer.Stats().Endpoint)
		third := packet(inner4(0), hub4, "\x1e\x14\x01\x01key of Akey of B and what is said")
		join := packet(hub4, inner4(0), "\x1e\x0c\x10\x01TOKN")
		s.send(c, third)
		time.Sleep(time.Minute)
		c.atHub.want(t, third)
		s.send(c.peer, join)
		time.Sleep(time.Second)
		c.atClient.want(t, join)
		if len(w.seen) < 148+92+len(third)+len(join) || w.seen[0] != 1 {
			t.Fatalf("%d octets seen", len(w.seen))
		}
		for _, secret := range [][]byte{[]byte("key of A"), []byte("key of B"), []byte("TOKN"), []byte("is said"), third[12:20], []byte("\x1e\x14\x01\x01")} {
			if bytes.Contains(w.seen, secret) {
				t.Errorf("%q is on the wire", secret)
			}
		}
	})
}
