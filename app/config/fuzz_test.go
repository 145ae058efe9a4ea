package config

import "testing"

// FuzzSettings: a file that is taken is written so that it is read as the same.
func FuzzSettings(f *testing.F) {
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"routes": "10.0.0.0/8", "scheduler": "cost", "cost_rate": "1Mbit", "inactivity": "2h,request", "links": {"wwan0": {"price": 5}}}`))
	f.Add([]byte(`{"links": {"wwan0": {"limit_down": "5M", "cap": "20GB", "reset_day": 31, "deny": "10.20.0.0/16", "address": "fixed"}}}`))
	f.Add([]byte(`{"routes": "default", "routes": ""}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, again := NewSettings(), NewSettings()
		if decode(text, &s) != nil {
			return
		}
		first, err := encode(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := decode(first, &again); err != nil {
			t.Fatalf("%s is not taken again: %v", first, err)
		}
		if second, err := encode(again); err != nil || string(second) != string(first) {
			t.Errorf("%s comes back as %s, %v", first, second, err)
		}
	})
}

// FuzzAmounts: rates and sizes are not negative, and near to what they are written as.
func FuzzAmounts(f *testing.F) {
	for _, text := range []string{"10Mbit", "5M", "1.5Gbit/s", "20GB", "none", "0", "1e18", "-1k", "NaNM", " 3 kB"} {
		f.Add(text)
	}
	near := func(a, b int64) bool { return a >= 0 && max(a, b)-min(a, b) <= max(a, b)/100 }
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := ParseRate(text); err == nil {
			written, _ := r.MarshalText()
			if again, err := ParseRate(string(written)); err != nil || !near(int64(r), int64(again)) {
				t.Errorf("%q is %d, written as %s, which is %d, %v", text, r, written, again, err)
			}
		}
		if s, err := ParseSize(text); err == nil {
			written, _ := s.MarshalText()
			if again, err := ParseSize(string(written)); err != nil || !near(int64(s), int64(again)) {
				t.Errorf("%q is %d, written as %s, which is %d, %v", text, s, written, again, err)
			}
		}
	})
}
