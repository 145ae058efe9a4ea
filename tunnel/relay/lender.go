package relay

import (
	"sync"
	"sync/atomic"
)

const (
	large = 64 << 10
	small = 2 << 10
)

// A lender lends buffers to copies: large ones up to a bound in all, small ones beyond it. A stream that
// has nothing to say holds none if it is a Waiter, and a small one otherwise.
type lender struct {
	max  int64
	lent atomic.Int64 // octets of large ones
	bigs sync.Pool    // of *[large]byte
	bits sync.Pool    // of *[small]byte
}

func newLender(max int) *lender {
	return &lender{
		max:  int64(max),
		bigs: sync.Pool{New: func() any { return new([large]byte) }},
		bits: sync.Pool{New: func() any { return new([small]byte) }},
	}
}

// wait returns a buffer for the next octets of s. Those of a stream that is no Waiter are few after few:
// full says whether the last read filled its buffer. The error is WaitRead's.
func (l *lender) wait(s Stream, full bool) ([]byte, error) {
	if w, ok := s.(Waiter); ok {
		if err := w.WaitRead(); err != nil {
			return nil, err
		}
	} else if !full {
		return l.bits.Get().(*[small]byte)[:], nil
	}
	if l.lent.Add(large) > l.max {
		l.lent.Add(-large)
		return l.bits.Get().(*[small]byte)[:], nil
	}
	return l.bigs.Get().(*[large]byte)[:], nil
}

func (l *lender) giveBack(b []byte) {
	if len(b) == small {
		l.bits.Put((*[small]byte)(b))
		return
	}
	l.lent.Add(-large)
	l.bigs.Put((*[large]byte)(b))
}
