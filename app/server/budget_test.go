package server

import (
	"os"
	"testing"
)

// Of 1000 files the first device gets half, the next half of what that leaves.
func TestBudgetIsShared(t *testing.T) {
	b := &budget{total: 1000}
	all := func(s *share) (n int) {
		for s.take() {
			n++
		}
		return n
	}
	first, second, third := share{budget: b}, share{budget: b}, share{budget: b}
	for i, c := range []struct {
		s    *share
		want int
	}{{&first, 500}, {&second, 250}, {&third, 125}, {&first, 0}} {
		if n := all(c.s); n != c.want {
			t.Errorf("taker %d got %d, not %d", i, n, c.want)
		}
	}
	for range 500 {
		first.give()
	}
	if n := all(&second); n != (1000-125)/2-250 {
		t.Errorf("when others gave back, %d more were taken", n)
	}
	if b.used != second.mine+third.mine || first.mine != 0 {
		t.Errorf("%d are used, by %d and %d", b.used, second.mine, third.mine)
	}
}

func TestBudgetThatIsSmall(t *testing.T) {
	b := &budget{total: 20}
	first, second := share{budget: b}, share{budget: b}
	for range shareMin {
		if !first.take() {
			t.Fatal("a device does not get the least")
		}
	}
	if first.take() {
		t.Error("a device got more than the least")
	}
	n := 0
	for second.take() {
		n++
	}
	if n != 4 {
		t.Errorf("%d were left, not 4", n)
	}
}

func TestWhatTheSystemTells(t *testing.T) {
	file := func(text string) string {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		f.WriteString(text)
		f.Close()
		return f.Name()
	}
	for _, c := range []struct {
		text string
		want int
	}{
		{"Limit   Soft   Hard\nMax open files            20000                20000                files     \n", 20000},
		{"Max open files            unlimited            unlimited            files     \n", 1 << 20},
		{"Max cpu time              unlimited            unlimited            seconds   \n", unknownFiles},
	} {
		if n := openFiles(file(c.text)); n != c.want {
			t.Errorf("%q: %d files", c.text, n)
		}
	}
	if n := openFiles("/none"); n != unknownFiles {
		t.Errorf("%d files where nothing is told", n)
	}
	meminfo := file("MemTotal:        2048000 kB\nMemFree: 1 kB\n")
	for _, c := range []struct {
		what, meminfo, group string
		want                 int
	}{
		{"machine", meminfo, "/none", 2048000 << 10},
		{"group", meminfo, file("104857600\n"), 100 << 20},
		{"group without limit", meminfo, file("max\n"), 2048000 << 10},
		{"nothing", "/none", "/none", unknownMemory},
	} {
		if n := memoryLimit(c.meminfo, c.group); n != c.want {
			t.Errorf("%s: %d octets", c.what, n)
		}
	}
	if n := bufferedShare(0); n != bufferedMin {
		t.Errorf("%d octets where nothing is left", n)
	}
	if n := bufferedShare(1 << 40); n != bufferedMax {
		t.Errorf("%d octets where all is left", n)
	}
}
