package upstream

import (
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
)

// TestListen: who comes with Multipath TCP gets it, if the kernel has it, and who comes without gets TCP.
func TestListen(t *testing.T) {
	l, err := Listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	text, _ := os.ReadFile("/proc/sys/net/mptcp/enabled")
	speaks := strings.TrimSpace(string(text)) == "1"
	for _, asks := range []bool{true, false} {
		var d net.Dialer
		d.SetMultipathTCP(asks)
		c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		if multipath, err := got.(*net.TCPConn).MultipathTCP(); err != nil || multipath != (asks && speaks) {
			t.Errorf("a client that asks %v gets %v: %v", asks, multipath, err)
		}
	}
}
