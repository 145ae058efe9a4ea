package control

import (
	"net"
	"sync"
)

// placesMax is how many connections callers of each right have at a time. Nobody takes the places of those who may do more;
// those who may do nothing get their refusal.
var placesMax = [...]int{nothing: 8, toggle: 64, own: 64}

// A crowd is a listener that knows its callers and closes those for whom there is no place.
type crowd struct {
	net.Listener
	rightOf func(net.Conn) right

	mu     sync.Mutex
	places [len(placesMax)]int // that are taken
}

// A call is a connection with its caller's right, which is asked for once.
type call struct {
	net.Conn
	right right
	leave func()
}

// Accept is part of net.Listener.
func (l *crowd) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		has := l.rightOf(c)
		if l.enter(has) {
			return &call{c, has, sync.OnceFunc(func() { l.leave(has) })}, nil
		}
		c.Close()
	}
}

func (l *crowd) enter(r right) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.places[r] == placesMax[r] {
		return false
	}
	l.places[r]++
	return true
}

func (l *crowd) leave(r right) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.places[r]--
}

// Close is part of net.Conn.
func (c *call) Close() error {
	c.leave()
	return c.Conn.Close()
}
