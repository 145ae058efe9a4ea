package control

import (
	"net"
	"sync"
)

// How many connections are served at a time. Those who may do nothing get their refusal, but never the places of others.
const (
	callersMax   = 64
	strangersMax = 8
)

// A crowd is a listener that knows its callers and closes those for whom there is no place.
type crowd struct {
	net.Listener
	rightOf func(net.Conn) right

	mu                 sync.Mutex
	callers, strangers int
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
		count, most := &l.callers, callersMax
		if has == nothing {
			count, most = &l.strangers, strangersMax
		}
		if l.enter(count, most) {
			return &call{c, has, sync.OnceFunc(func() { l.leave(count) })}, nil
		}
		c.Close()
	}
}

func (l *crowd) enter(count *int, most int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if *count == most {
		return false
	}
	*count++
	return true
}

func (l *crowd) leave(count *int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	*count--
}

// Close is part of net.Conn.
func (c *call) Close() error {
	c.leave()
	return c.Conn.Close()
}
