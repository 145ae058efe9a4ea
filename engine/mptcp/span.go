package mptcp

import "slices"

// A span is a range [from, to) of positions in a stream.
type span struct{ from, to uint64 }

// spans is a set of positions: disjoint spans in order, none touching the next.
type spans []span

// spansMax bounds a set, so that a peer who sends every other octet cannot make it grow without end.
const spansMax = 1024

// add adds [from, to). It returns false, and adds nothing, if the set would grow beyond its bound.
func (s *spans) add(from, to uint64) bool {
	if from >= to {
		return true
	}
	i := len(*s)
	for i > 0 && (*s)[i-1].to >= from {
		i--
	}
	j := i
	for j < len(*s) && (*s)[j].from <= to {
		from = min(from, (*s)[j].from)
		to = max(to, (*s)[j].to)
		j++
	}
	if i == j {
		if len(*s) >= spansMax {
			return false
		}
		*s = slices.Insert(*s, i, span{from, to})
		return true
	}
	(*s)[i] = span{from, to}
	*s = slices.Delete(*s, i+1, j)
	return true
}

// pop removes the first span and returns its end.
func (s *spans) pop() uint64 {
	to := (*s)[0].to
	*s = slices.Delete(*s, 0, 1)
	return to
}

// end returns where the last span ends; 0 without one.
func (s spans) end() uint64 {
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1].to
}

// size returns how many positions the set holds.
func (s spans) size() int {
	n := 0
	for _, x := range s {
		n += int(x.to - x.from)
	}
	return n
}
