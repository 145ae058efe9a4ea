package path

// peak is the largest value of a moving window, kept in three: the largest, and the largest of what
// came after it twice over. The zero peak is empty, and values are never 0.
type peak [3]struct{ at, value int64 }

func (p *peak) best() int64 { return p[0].value }

// update adds value, seen at at, and drops what is older than span.
func (p *peak) update(at, value, span int64) {
	s := struct{ at, value int64 }{at, value}
	switch {
	case p[0].value == 0 || value >= p[0].value || at-p[2].at > span:
		p[0], p[1], p[2] = s, s, s
		return
	case value >= p[1].value:
		p[1], p[2] = s, s
	case value >= p[2].value:
		p[2] = s
	}
	switch age := at - p[0].at; {
	case age > span:
		p[0], p[1], p[2] = p[1], p[2], s
		if at-p[0].at > span {
			p[0], p[1] = p[1], p[2]
		}
	case p[1].at == p[0].at && age > span/4:
		p[1], p[2] = s, s
	case p[2].at == p[1].at && age > span/2:
		p[2] = s
	}
}
