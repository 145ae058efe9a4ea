package tcp

import "slices"

// A span is the octets [left, right) of one direction of a subflow.
type span struct{ left, right uint64 }

// spans is a set of octets: sorted, with a gap between any two.
type spans []span

// find returns the index of the first span that ends at or after off.
func (z spans) find(off uint64) int {
	low, high := 0, len(z)
	for low < high {
		mid := int(uint(low+high) / 2)
		if z[mid].right < off {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// gap returns the first run of octets in p that the set lacks; empty if it has them all.
func (z spans) gap(p span) span {
	i := z.find(p.left)
	if i < len(z) && z[i].left <= p.left {
		p.left = z[i].right
		i++
	}
	if i < len(z) {
		p.right = min(p.right, z[i].left)
	}
	return span{p.left, max(p.left, p.right)}
}

// around returns the span that holds the octet at off.
func (z spans) around(off uint64) (span, bool) {
	i := z.find(off + 1)
	if i < len(z) && z[i].left <= off {
		return z[i], true
	}
	return span{}, false
}

// grows reports whether adding p would make one span more.
func (z spans) grows(p span) bool {
	i := z.find(p.left)
	return i == len(z) || z[i].left > p.right
}

// add puts p in and merges what touches.
func (z *spans) add(p span) {
	if p.left >= p.right {
		return
	}
	i := z.find(p.left)
	j := i
	for ; j < len(*z) && (*z)[j].left <= p.right; j++ {
		p.left, p.right = min(p.left, (*z)[j].left), max(p.right, (*z)[j].right)
	}
	if i == j {
		*z = slices.Insert(*z, i, p)
		return
	}
	(*z)[i] = p
	*z = slices.Delete(*z, i+1, j)
}

// cut takes all octets before off out.
func (z *spans) cut(off uint64) {
	i := z.find(off)
	if i < len(*z) && (*z)[i].right == off {
		i++
	}
	*z = slices.Delete(*z, 0, i)
	if len(*z) > 0 {
		(*z)[0].left = max((*z)[0].left, off)
	}
}
