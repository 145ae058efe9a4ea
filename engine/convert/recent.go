package convert

import "container/list"

// recent is a table of at most so many rows. A new row takes the place of the one that was not asked for longest.
type recent[K comparable, V any] struct {
	most      int
	rows      map[K]*list.Element
	order     list.List // of *row, the latest in front
	forgotten uint64    // rows that had to make room
}

type row[K comparable, V any] struct {
	key   K
	value V
}

func newRecent[K comparable, V any](most int) *recent[K, V] {
	return &recent[K, V]{most: most, rows: map[K]*list.Element{}}
}

// get returns the row of a key, nil if there is none.
func (r *recent[K, V]) get(key K) *V {
	e := r.rows[key]
	if e == nil {
		return nil
	}
	r.order.MoveToFront(e)
	return &e.Value.(*row[K, V]).value
}

// make returns the row of a key, which is zero if it is new.
func (r *recent[K, V]) make(key K) *V {
	if v := r.get(key); v != nil {
		return v
	}
	if len(r.rows) >= r.most {
		r.drop(r.order.Back().Value.(*row[K, V]).key)
		r.forgotten++
	}
	e := &row[K, V]{key: key}
	r.rows[key] = r.order.PushFront(e)
	return &e.value
}

func (r *recent[K, V]) drop(key K) {
	if e := r.rows[key]; e != nil {
		r.order.Remove(e)
		delete(r.rows, key)
	}
}

func (r *recent[K, V]) clear() {
	clear(r.rows)
	r.order.Init()
}
