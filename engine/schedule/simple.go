package schedule

// roundRobin gives each path with room one segment in turn.
type roundRobin struct{ last int }

func (r *roundRobin) Pick(paths []View, _, _ int) int {
	e := among(paths)
	n := len(paths)
	secondary := -1
	for k := 1; k <= n; k++ {
		i := (r.last + k) % n
		switch v := &paths[i]; {
		case !e.takes(v) || v.Room <= 0:
		case !v.Secondary:
			r.last = i
			return i
		case secondary < 0:
			secondary = i
		}
	}
	if secondary >= 0 {
		r.last = secondary
	}
	return secondary
}

// redundant sends every octet on every path: see Redundant.
type redundant struct{}

func (redundant) Pick(paths []View, _, _ int) int {
	e := among(paths)
	if e.sent {
		return -1
	}
	return e.first(paths, inOrder)
}

// backup is strict priority: the first path with room, in the order given.
type backup struct{}

func (backup) Pick(paths []View, _, _ int) int { return among(paths).first(paths, inOrder) }

func inOrder(_, _ *View) bool { return false }
