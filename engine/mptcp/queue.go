package mptcp

// A queue holds connections in the order in which they came, each at most once.
type queue struct {
	id          uint8 // which of the links of a connection it uses
	first, last *Conn
	size        int
}

// The queues of a bond, by the link of a connection that they use.
const (
	inReady = iota
	inBlocked
	inChanged
	queues
)

// queueLink is a connection's place in one queue.
type queueLink struct {
	next   *Conn
	queued bool
}

func (q *queue) push(c *Conn) {
	l := &c.links[q.id]
	if l.queued {
		return
	}
	l.queued = true
	if q.last == nil {
		q.first = c
	} else {
		q.last.links[q.id].next = c
	}
	q.last = c
	q.size++
}

// pushFirst puts c before all others.
func (q *queue) pushFirst(c *Conn) {
	l := &c.links[q.id]
	if l.queued {
		return
	}
	*l = queueLink{next: q.first, queued: true}
	q.first = c
	if q.last == nil {
		q.last = c
	}
	q.size++
}

func (q *queue) pop() *Conn {
	c := q.first
	if c == nil {
		return nil
	}
	l := &c.links[q.id]
	q.first = l.next
	if q.first == nil {
		q.last = nil
	}
	*l = queueLink{}
	q.size--
	return c
}
