package mptcp

import "slices"

// A chunk is a run of octets that a subflow carries under one mapping.
type chunk struct {
	off, at uint64 // place in the subflow's stream and in the connection's
	n       int
	fin     bool // the mapping includes DATA_FIN
	summed  bool // sum is the checksum of the mapping
	sum     uint16
}

// chunks are what a subflow was given and its peer has not acknowledged yet, in order.
type chunks struct {
	list []chunk
	head int
}

func (c *chunks) push(x chunk) {
	if c.head > 64 && c.head*2 > len(c.list) {
		c.list = slices.Delete(c.list, 0, c.head)
		c.head = 0
	}
	c.list = append(c.list, x)
}

// all returns the chunks from the oldest on.
func (c *chunks) all() []chunk { return c.list[c.head:] }

// pop removes the oldest if it ends at or before off.
func (c *chunks) pop(off uint64) (chunk, bool) {
	if c.head == len(c.list) || c.list[c.head].off+uint64(c.list[c.head].n) > off {
		return chunk{}, false
	}
	x := c.list[c.head]
	c.head++
	if c.head == len(c.list) {
		c.head = 0
		c.list = c.list[:0]
	}
	return x, true
}

// rest lets an idle subflow hold no memory.
func (c *chunks) rest() {
	if len(c.list) == 0 {
		c.list = nil
	}
}

// find returns the chunk that begins at off.
func (c *chunks) find(off uint64) *chunk {
	all := c.all()
	i, found := slices.BinarySearchFunc(all, off, func(x chunk, off uint64) int {
		switch {
		case x.off < off:
			return -1
		case x.off > off:
			return 1
		}
		return 0
	})
	if !found {
		return nil
	}
	return &all[i]
}
