//go:build !race

package tcp

const slowness = 1
