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

// Ports that the system gives to others cannot be ours, and the finding says how to keep them.
func TestCheckPorts(t *testing.T) {
	for given, ok := range map[string]bool{"32768\t60999\n": true, "1024 60999": true, "": true, "many": true, "32768\t61000\n": false, "1024\t65535\n": false} {
		f := checkPorts(61000, given)
		if f.OK != ok || ok == strings.Contains(f.Detail, "sysctl -w net.ipv4.ip_local_port_range") || !ok && !strings.Contains(f.Detail, ` 60999"`) {
			t.Errorf("%q: %+v", given, f)
		}
	}
	if f := CheckPorts(1); f.OK {
		t.Errorf("of this system: %+v", f)
	}
}
