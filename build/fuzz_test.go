package main

import "testing"

func TestOverran(t *testing.T) {
	for _, x := range []struct {
		name, out string
		want      bool
	}{
		{"the time is over", "--- FAIL: FuzzX (3.11s)\n    context deadline exceeded\nFAIL\n", true},
		{"an input fails", "--- FAIL: FuzzX (0.02s)\n    Failing input written to testdata/fuzz/FuzzX/771e9\nFAIL\n", false},
		{"an input that fails at the end", "context deadline exceeded\n    Failing input written to testdata/fuzz/FuzzX/771e9\n", false},
		{"it does not build", "FAIL\tpkg [build failed]\n", false},
	} {
		if got := overran(x.out); got != x.want {
			t.Errorf("%s: %v", x.name, got)
		}
	}
}
