package sim

import (
	"encoding/binary"
	"regexp"
	"runtime/debug"
	"strings"

	"tandem/engine/wire"
)

// some returns all of them, or with the race detector the last n: what it can find here is state that worlds
// share, which few worlds beside each other show as well as many. Their figures are judged without it.
func some[T any](n int, all []T) []T {
	if raced {
		return all[max(0, len(all)-n):]
	}
	return all
}

// stack is the call stack without the recovering part.
func stack() string {
	s := string(debug.Stack())
	if i := strings.Index(s, "panic("); i >= 0 {
		s = s[i:]
	}
	return s[:min(len(s), 3000)]
}

// wrapsSoon reports whether the initial DSN of a key and an initial sequence number are near their wrap.
func wrapsSoon(key [8]byte, iss [4]byte) (low uint32, ok bool) {
	_, idsn := wire.KeyToken(binary.BigEndian.Uint64(key[:]))
	low = uint32(idsn)
	return low, -low <= nearMax && -binary.BigEndian.Uint32(iss[:]) <= nearMax
}

// pointers takes out what is printed of addresses in memory.
func pointers(s string) string { return regexp.MustCompile("0x[0-9a-f]+").ReplaceAllString(s, "") }
