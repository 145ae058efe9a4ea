package mptcp

import "slices"

// nameOf returns the name of a value, or what is said of one that has none.
func nameOf[T ~uint8](names []string, v T, none string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return none
}

// parseName returns the value of a name; ok is false, and v zero, if there is none.
func parseName[T ~uint8](names []string, name string) (v T, ok bool) {
	i := slices.Index(names, name)
	return T(max(i, 0)), i >= 0
}
