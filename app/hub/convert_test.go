package main

import (
	"strings"
	"testing"
)

// What keeps nothing does not ask where.
func TestStateless(t *testing.T) {
	for command, want := range map[string]bool{"run": true, "convert": false, "implicit": false} {
		if _, out, _ := typed(t, t.Context(), command, "--help"); strings.Contains(out, "--state") != want {
			t.Errorf("%s --help speaks of --state: %v\n%s", command, !want, out)
		}
	}
}
