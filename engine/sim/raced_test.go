//go:build race

package sim

// With the race detector all of this takes fourteen times as long.
const (
	raced        = true
	seedsDefault = 24
)
