package tcp

import (
	"math/rand/v2"
	"testing"
)

// A set of octets behaves like a bitmap.
func TestSpans(t *testing.T) {
	const size = 60
	rng := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		var z spans
		var bits [size + 1]bool
		for range 40 {
			p := span{uint64(rng.IntN(size)), uint64(rng.IntN(size + 1))}
			p.right = max(p.left, p.right)
			checkGap(t, z, bits[:], p)
			switch rng.IntN(6) {
			case 0:
				z.cut(p.left)
				clear(bits[:p.left])
			default:
				z.add(p)
				for i := p.left; i < p.right; i++ {
					bits[i] = true
				}
			}
			checkSpans(t, z, bits[:])
		}
	}
}

func checkSpans(t *testing.T, z spans, bits []bool) {
	t.Helper()
	for i, has := range bits {
		p, ok := z.around(uint64(i))
		if ok != has || ok && (uint64(i) < p.left || uint64(i) >= p.right) {
			t.Fatalf("%v: octet %d in %v %v, want %v", z, i, p, ok, has)
		}
	}
	for i, p := range z {
		if p.left >= p.right || i > 0 && p.left <= z[i-1].right {
			t.Fatalf("%v touch or are empty", z)
		}
	}
}

func checkGap(t *testing.T, z spans, bits []bool, p span) {
	t.Helper()
	want := span{p.left, p.left}
	for want.left < p.right && bits[want.left] {
		want.left++
	}
	want.right = want.left
	for want.right < p.right && !bits[want.right] {
		want.right++
	}
	got := z.gap(p)
	if want.left == want.right {
		if got.left < got.right {
			t.Fatalf("%v: gap %v in %v, want none", z, got, p)
		}
	} else if got != want {
		t.Fatalf("%v: gap %v in %v, want %v", z, got, p, want)
	}
	if p.left < p.right {
		before, after := len(z), append(spans(nil), z...)
		after.add(p)
		if z.grows(p) != (len(after) > before) {
			t.Fatalf("%v: grows by %v says %v", z, p, z.grows(p))
		}
	}
}
