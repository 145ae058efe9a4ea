package schedule

// eligible is what a path must be to be considered among given ones.
type eligible struct{ backup, sent bool }

// among allows backups only if nothing else is usable, and paths that have carried the octets only
// if all usable ones have.
func among(paths []View) eligible {
	e := eligible{backup: true, sent: true}
	for i := range paths {
		if v := &paths[i]; v.Usable && !v.Backup {
			e.backup = false
		}
	}
	for i := range paths {
		if v := &paths[i]; v.Usable && (!v.Backup || e.backup) && !v.Sent {
			e.sent = false
		}
	}
	return e
}

func (e eligible) takes(v *View) bool {
	return v.Usable && (e.backup || !v.Backup) && (e.sent || !v.Sent)
}

// first returns the eligible path with room that none is better than, of equals the first, or -1.
// Secondary paths come after all others.
func (e eligible) first(paths []View, better func(a, b *View) bool) int {
	best := -1
	for i := range paths {
		v := &paths[i]
		if !e.takes(v) || v.Room <= 0 {
			continue
		}
		if best < 0 || before(v, &paths[best], better) {
			best = i
		}
	}
	return best
}

func before(a, b *View, better func(a, b *View) bool) bool {
	if a.Secondary != b.Secondary {
		return b.Secondary
	}
	return better(a, b)
}
