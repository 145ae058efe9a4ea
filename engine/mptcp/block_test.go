package mptcp

import (
	"sync"
	"testing"
)

func TestPoolKeepsWhatIsGivenBack(t *testing.T) {
	var p pool
	a, b := p.get(), p.get()
	a.refs = 1
	a.next.Store(b)
	p.put(a)
	p.put(b)
	if p.used != 0 {
		t.Fatalf("%d in use", p.used)
	}
	if x := p.take(); x != a || x.refs != 0 || x.next.Load() != nil {
		t.Error("the first given back is not the first taken, or not clean")
	}
	if p.take() != b {
		t.Error("the second is not the second")
	}
	if x := p.take(); x == nil || x == a || x == b {
		t.Error("an empty pool gives no block of its own")
	}
}

func TestPoolIsBounded(t *testing.T) {
	var p pool
	for range poolSize + 10 {
		p.put(newBlock())
	}
	kept := 0
	for i := range p.places {
		if p.places[i].Load() != nil {
			kept++
		}
	}
	if kept != poolSize || int(p.in-p.out.Load()) != poolSize {
		t.Fatalf("%d kept, %d counted", kept, p.in-p.out.Load())
	}
	for range poolSize {
		p.get()
	}
	p.put(newBlock())
	if p.places[0].Load() == nil {
		t.Error("the ring does not go round")
	}
}

func TestPoolIsTrimmedWhenNothingIsInUse(t *testing.T) {
	var p pool
	a, b := p.get(), p.get()
	p.put(a)
	p.trim()
	if p.take() != a {
		t.Error("trimmed although a block is in use")
	}
	p.used++
	p.put(a)
	p.put(b)
	p.trim()
	for i := range p.places {
		if p.places[i].Load() != nil {
			t.Fatalf("place %d keeps a block", i)
		}
	}
	p.used++
	p.put(a)
	if p.take() != a {
		t.Error("of no use after it was trimmed")
	}
}

// TestPoolGivesNoBlockTwice lets several applications take blocks while the owner puts others.
func TestPoolGivesNoBlockTwice(t *testing.T) {
	const takers, each = 4, 5000
	var p pool
	var taken [takers][]*block
	var all sync.WaitGroup
	for i := range takers {
		all.Go(func() {
			for range each {
				taken[i] = append(taken[i], p.take())
			}
		})
	}
	for range takers * each {
		p.used++
		p.put(&block{})
	}
	all.Wait()
	seen := make(map[*block]bool)
	for i := range takers {
		for _, b := range taken[i] {
			if seen[b] {
				t.Fatal("two hold the same block")
			}
			seen[b] = true
		}
	}
}
