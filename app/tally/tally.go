// Package tally gives counters names, for programs and for people: whatever is counted is shown, without a list of it.
package tally

import (
	"reflect"
	"strings"
	"unicode"
)

// Tally is counts by name: that of the counter in the code, in lower case with _ between words.
type Tally map[string]uint64

// Of names the counters of a struct. What is embedded counts as its own; before the names in another struct stands the
// name of that. Fields that are neither uint64 nor structs are left out.
func Of(counters any) Tally {
	t := Tally{}
	t.AddAll("", counters)
	return t
}

// AddAll adds the counters of a struct, with a prefix before their names.
func (t Tally) AddAll(prefix string, counters any) { t.add(prefix, reflect.ValueOf(counters)) }

func (t Tally) add(prefix string, v reflect.Value) {
	for i := range v.NumField() {
		f, name := v.Type().Field(i), prefix+snake(v.Type().Field(i).Name)
		switch {
		case f.Anonymous:
			t.add(prefix, v.Field(i))
		case f.Type.Kind() == reflect.Struct:
			t.add(name+"_", v.Field(i))
		case f.Type.Kind() == reflect.Uint64:
			t[name] += v.Field(i).Uint()
		}
	}
}

// Sum adds another tally.
func (t Tally) Sum(more Tally) {
	for name, n := range more {
		t[name] += n
	}
}

// snake writes BadJoinMAC as bad_join_mac: a word begins where a capital letter follows a small one, or comes before one.
func snake(name string) string {
	var b strings.Builder
	letters := []rune(name)
	for i, c := range letters {
		begins := unicode.IsUpper(c) && i > 0 &&
			(!unicode.IsUpper(letters[i-1]) || i+1 < len(letters) && unicode.IsLower(letters[i+1]))
		if begins {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}
