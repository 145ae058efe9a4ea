package mptcp

// A budget is how many octets the connections of a bond may be promised in one direction: windows
// offered to peers, or room given to applications. What was promised cannot be taken back before it
// was used, so that it counts from the promise on.
type budget struct{ size, used int }

// open returns what a connection that has a promise of have octets is promised when it begins: less
// when others were promised much already, but always enough to move.
func (b *budget) open(have, want int) int {
	n := max(have, min(want, max((b.size-b.used)/8, promiseLeast)))
	b.used += n - have
	return n
}

// change returns what a connection that has a promise of have octets is promised if it wants want.
func (b *budget) change(have, want int) int {
	if want > have {
		want = have + min(want-have, max(b.size-b.used, 0))
	}
	b.used += want - have
	return want
}
