//go:build race

package tcp

// slowness is by how much the race detector slows tests that repeat themselves with other numbers. Here is
// nothing that could race: they repeat themselves so much less.
const slowness = 12
