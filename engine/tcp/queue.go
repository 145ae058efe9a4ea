package tcp

// A queue is the chunks pushed that have not left entirely.
type queue struct {
	chunks []Chunk
	head   int
	end    uint64 // of the outgoing stream
}

// Push appends a chunk to the outgoing stream: n octets that Fetch finds at position at. After Close,
// and when Closed, it does nothing.
func (s *Subflow) Push(at uint64, n int) {
	q := &s.snd.queue
	if n <= 0 || s.state == Closed || s.end.closing {
		return
	}
	if q.head > 16 && 2*q.head > len(q.chunks) {
		q.chunks = q.chunks[:copy(q.chunks, q.chunks[q.head:])]
		q.head = 0
	}
	q.chunks = append(q.chunks, Chunk{Off: q.end, At: at, Len: n})
	q.end += uint64(n)
}

// next returns the part of the first chunk that starts at off, which is its rest.
func (q *queue) next(off uint64) (Part, bool) {
	if q.head == len(q.chunks) {
		return Part{}, false
	}
	c := q.chunks[q.head]
	into := off - c.Off
	return Part{Off: off, At: c.At + into, Len: c.Len - int(into), Chunk: c}, true
}

// sent drops the first chunk if it ends at or before off.
func (q *queue) sent(off uint64) {
	if c := q.chunks[q.head]; c.Off+uint64(c.Len) > off {
		return
	}
	if q.head++; q.head == len(q.chunks) {
		q.chunks, q.head = q.chunks[:0], 0
	}
}
