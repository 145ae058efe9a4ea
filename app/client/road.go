package client

import (
	"context"
	"fmt"
	"slices"

	"tandem/engine"
	"tandem/engine/convert"
	"tandem/tunnel/upstream"
)

// A road is what is known of a path to the proxy. Over some a middlebox may strip Multipath TCP: a connection that begins
// there keeps to that one link, and one that begins elsewhere gets all links but that. Or it may take octets out of SYNs.
type road struct {
	speaks, mute bool // the proxy was heard to speak Multipath TCP over it, or not to
	strips       bool // octets of a SYN did not arrive
}

// The roads are those of which something is known.
type roads map[engine.PathID]road

// note is what a connection tells of the path that it began on.
func (w *roads) note(info engine.Info) {
	if *w == nil {
		*w = roads{}
	}
	x := (*w)[info.Began]
	(*w)[info.Began] = road{speaks: !info.Fallback, mute: info.Fallback, strips: info.Stripped || x.strips && info.FastOpen == 0}
}

// strip notes that octets of a SYN did not arrive over a path.
func (w *roads) strip(p engine.PathID) {
	if *w == nil {
		*w = roads{}
	}
	x := (*w)[p]
	x.strips = true
	(*w)[p] = x
}

// pardon forgets that.
func (w roads) pardon() {
	for p, x := range w {
		x.strips = false
		w[p] = x
	}
}

// both reports whether the proxy speaks Multipath TCP over some paths, and whether it does not over some.
func (w roads) both() (speaks, mute bool) {
	for _, x := range w {
		speaks, mute = speaks || x.speaks, mute || x.mute
	}
	return speaks, mute
}

// sound reports whether nothing bad is known of any path.
func (w roads) sound() bool {
	for _, x := range w {
		if x.mute || x.strips {
			return false
		}
	}
	return true
}

// but leaves out paths that are bad.
func (w roads) but(paths []engine.PathID, bad func(road) bool) []engine.PathID {
	return slices.DeleteFunc(slices.Clone(paths), func(p engine.PathID) bool { return bad(w[p]) })
}

// begin chooses of some paths those to begin with, and with how much haste. Paths that strip Multipath TCP are left out,
// unless that leaves none, and with haste those that take octets out of SYNs; ok is false if all do that, though
// elsewhere they arrived (RFC 8803 8).
func (w roads) begin(paths []engine.PathID, haste upstream.Haste) (good []engine.PathID, with upstream.Haste, ok bool) {
	good = w.but(paths, func(x road) bool { return x.mute })
	if len(good) == 0 {
		good = paths
	}
	if haste == upstream.Patient || len(good) == 0 {
		return good, haste, true
	}
	if whole := w.but(good, func(x road) bool { return x.strips }); len(whole) > 0 {
		return whole, haste, true
	}
	return good, upstream.Patient, haste != upstream.HastyOnly
}

// begin says how a connection to the proxy begins: with which paths, nil if it makes no difference, and with how much haste.
// If nothing with haste gets through the caller decides what then, and on another chance; not so for one that is
// confined to some paths, which says nothing of the others.
func (n *nativeMode) begin(ctx context.Context, over convert.Path, haste upstream.Haste) ([]engine.PathID, upstream.Haste, error) {
	n.mu.Lock()
	sound := n.roads.sound()
	n.mu.Unlock()
	if sound && over == 0 {
		return nil, haste, nil
	}
	paths := onlyOf(ctx)
	confined := paths != nil
	if !confined {
		for _, p := range n.live.bond.Paths() {
			paths = append(paths, p.ID)
		}
		paths = n.live.dialer.confiner.begin(paths, nil)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	good, with, ok := n.roads.begin(paths, haste)
	switch p := engine.PathID(over - 1); {
	case !ok && !confined:
		n.roads.pardon()
		return nil, with, fmt.Errorf("over no link: %w", convert.ErrStripped)
	case over != 0 && slices.Contains(good, p):
		return []engine.PathID{p}, with, nil
	case len(good) == len(paths):
		return nil, with, nil
	}
	return good, with, nil
}
