package convert

import (
	"bytes"
	"testing"
)

// The rules of RFC 8803 7 for each kind, at a converter that supports all it can and at one that supports nothing.
func TestOptionRules(t *testing.T) {
	all := []uint8{SACKPermitted, Timestamps, MPTCP, FastOpen}
	for _, c := range []struct {
		name      string
		supported []uint8
		wire      string
		taken     string
		refused   string
		bad       bool
	}{
		{"none", all, "", "", "", false},
		{"NOP", all, "01 01 04 02", "04 02", "", false},
		{"MSS, window scale, SACK: ignored", all, "02 04 05b4 03 03 07 05 0a 00000001 00000002", "", "", false},
		{"these without values", nil, "02 02 03 02 05 02", "", "", false},
		{"SACK permitted", all, "04 02", "04 02", "", false},
		{"SACK permitted with a value", all, "04 03 01", "", "", true},
		{"timestamps", all, "08 02", "08 02", "", false},
		{"timestamps with a value", all, "08 0a 00000001 00000000", "", "", true},
		{"MPTCP", all, "1e 02", "1e 02", "", false},
		{"MPTCP with a value", all, "1e 04 01 81", "", "", true},
		{"TFO asks for a cookie", all, "22 02", "22 02", "", false},
		{"TFO with a cookie", all, "22 06 01020304", "22 06 01020304", "", false},
		{"TFO with the longest cookie", all, "22 12 00*16", "22 12 00*16", "", false},
		{"TFO with half a cookie", all, "22 03 01", "", "", true},
		{"TFO with an odd cookie", all, "22 07 01020304 05", "", "", true},
		{"TFO with too long a cookie", all, "22 14 00*18", "", "", true},
		{"twice the same", all, "1e 02 04 02 1e 02", "1e 02 04 02", "", false},
		{"TCP-AO", all, "1d 04 01 02", "", "1d", false},
		{"unknown", all, "1e 02 fd 02", "1e 02", "fd", false},
		{"two unknown, one twice", all, "fd 02 1d 02 fd 04 0102", "", "fd 1d", false},
		{"supported by others", []uint8{MPTCP}, "1e 02 04 02 08 02", "1e 02", "04 08", false},
		{"refused whatever its value", nil, "1e 04 01 81", "", "1e", false},
	} {
		taken, refused, ok := Options(octets(t, c.wire)).sort(c.supported)
		if !bytes.Equal(taken, octets(t, c.taken)) || !bytes.Equal(refused, octets(t, c.refused)) || ok == c.bad {
			t.Errorf("%s: taken %x, refused %x, %v", c.name, []byte(taken), refused, ok)
		}
	}
}

func TestOptionsReadBack(t *testing.T) {
	o := Options{}.Add(MPTCP).Add(FastOpen, 1, 2, 3, 4)
	if want := octets(t, "1e 02 22 06 01020304"); !bytes.Equal(o, want) {
		t.Errorf("%x", []byte(o))
	}
	if a, b := o.Add(4), o.Add(8); !a.Has(4) || a.Has(8) || !b.Has(8) || o.Has(8) {
		t.Errorf("%x and %x", []byte(a), []byte(b))
	}
	if !o.Has(MPTCP) || !o.Has(FastOpen) || o.Has(1) || o.Has(SACKPermitted) {
		t.Errorf("%x", []byte(o))
	}
	for kind, value := range o.All() {
		if kind == FastOpen && !bytes.Equal(value, []byte{1, 2, 3, 4}) {
			t.Errorf("%x", value)
		}
	}
}

// Options that nobody has checked are read as far as they go.
func TestOptionsOfAnyone(t *testing.T) {
	for wire, want := range map[string]int{"": 0, "1e": 0, "01 1e 02 04": 1, "1e 02 00 04 02": 1, "1e 02 04 01": 1, "1e 02 04 05 01": 1} {
		n := 0
		for range Options(octets(t, wire)).All() {
			n++
		}
		if n != want {
			t.Errorf("%s: %d, want %d", wire, n, want)
		}
	}
}

func TestSpeaksMPTCP(t *testing.T) {
	for _, c := range []struct {
		name, wire string
		want       bool
	}{
		{"nothing", "", false},
		{"plain TCP", "02 04 05b4 04 02 01 01", false},
		{"version 1", "02 04 05b4 1e 0c 01 01 0102030405060708", true},
		{"version 0", "02 04 05b4 1e 0c 00 01 0102030405060708", false},
		{"cut short", "1e 0c 01 01 01020304", false},
		{"a join", "1e 10 10 00 00*12", false},
	} {
		if speaksMPTCP(octets(t, c.wire)) != c.want {
			t.Errorf("%s: not %v", c.name, c.want)
		}
	}
}
