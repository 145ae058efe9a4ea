package tally

import (
	"reflect"
	"testing"

	"tandem/engine"
)

func TestOf(t *testing.T) {
	type inner struct{ Late, NotTCP uint64 }
	type Base struct{ BadJoinMAC uint64 }
	type counters struct {
		Base
		DSSChecksum, NoConnection uint64
		Datagrams                 inner
		Errors                    [2]uint64
		Flows                     int
	}
	is := Of(counters{Base{1}, 2, 3, inner{4, 5}, [2]uint64{6, 7}, 8})
	want := Tally{"bad_join_mac": 1, "dss_checksum": 2, "no_connection": 3, "datagrams_late": 4, "datagrams_not_tcp": 5}
	if !reflect.DeepEqual(is, want) {
		t.Errorf("%v, want %v", is, want)
	}
	is.Sum(Tally{"dss_checksum": 10, "more": 1})
	is.AddAll("cache_", inner{Late: 9})
	if is["dss_checksum"] != 12 || is["more"] != 1 || is["cache_late"] != 9 || is["datagrams_late"] != 4 {
		t.Errorf("%v", is)
	}
}

// TestNamesAreAPromise: those who read what drafts and attacks have brought about find it under the same names always.
func TestNamesAreAPromise(t *testing.T) {
	all := Of(engine.Counters{})
	for _, name := range []string{
		"races", "switches", "held", "copied_offers", "late_offers", "robe_offers", "join_caps", "bad_join_cap", "limit_join_cap", "rtt_reports",
		"inactive", "inactivity_times", "rate_limits",
		"fast_opens", "fast_opens_refused", "bad_cookies", "limit_fast_opens", "limit_cookies",
		"bad_join_token", "bad_join_mac", "bad_add_addr_mac", "recycled", "out_of_window", "unmapped", "dss_checksum",
		"limit_connections", "limit_subflows", "limit_half_open", "limit_offers", "limit_buffer", "limit_addresses", "limit_events",
		"malformed", "checksum", "resets", "fallbacks", "broken", "overflows", "datagrams_spoofed",
	} {
		if _, ok := all[name]; !ok {
			t.Errorf("nothing is called %s: %v", name, all)
		}
	}
}
