package platform

import (
	"os"
	"strings"
	"testing"
)

// What a process may do is what the kernel says of it, and where it does not say what root may.
func TestCapabilities(t *testing.T) {
	for _, c := range []struct {
		status           string
		admin, raw, told bool
	}{
		{"Name:\ttandem\nCapInh:\tffffffffffffffff\nCapEff:\t000001ffffffffff\n", true, true, true},
		{"CapEff:\t0000000000001000\n", true, false, true},
		{"CapEff:\t0000000000002000\n", false, true, true},
		{"CapPrm:\t0000000000003000\nCapEff:\t0000000000000000\n", false, false, true},
		{"CapEff:\tmuch\n", false, false, false},
		{"Name:\ttandem\n", false, false, false},
		{"", false, false, false},
	} {
		admin, told := netAdmin.in(c.status)
		if raw, _ := netRaw.in(c.status); admin != c.admin || raw != c.raw || told != c.told {
			t.Errorf("%q: %v, %v, told %v", c.status, admin, raw, told)
		}
	}
}

// The finding says what to do.
func TestCheckRaw(t *testing.T) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	able, _ := netRaw.in(string(status))
	if f := CheckRaw(); f.OK != able || !strings.Contains(f.Detail, "CAP_NET_RAW") || f.OK == strings.Contains(f.Detail, "may not") {
		t.Errorf("%+v, though CAP_NET_RAW is %v", f, able)
	}
}
