package platformtest

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"testing"

	"tandem/platform"
)

func TestLinks(t *testing.T) {
	h := New(platform.Link{Name: "wlan0", Index: 3})
	ctx, cancel := context.WithCancel(context.Background())
	reports, ended := make(chan []platform.Link), make(chan error)
	go func() { ended <- h.Links(ctx, func(l []platform.Link) { reports <- l }) }()
	if first := <-reports; len(first) != 1 || first[0].Name != "wlan0" {
		t.Errorf("first came %+v", first)
	}
	h.SetLinks(platform.Link{Name: "wlan0", Index: 3}, platform.Link{Name: "wwan0", Index: 4})
	if second := <-reports; len(second) != 2 || second[1].Name != "wwan0" {
		t.Errorf("then came %+v", second)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestFollow: while Links runs, routes follow the links before the change is reported.
func TestFollow(t *testing.T) {
	link := platform.Link{Name: "wlan0", Index: 3, Gateway4: netip.MustParseAddr("192.168.1.1")}
	h := New(link)
	device, err := h.Tun("tandem0", 1400)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	if err := h.Route(platform.Routing{Tun: "tandem0", Links: []string{"wlan0"}}); err != nil {
		t.Fatal(err)
	}
	h.Changes()
	ctx, cancel := context.WithCancel(context.Background())
	reports, ended := make(chan []platform.Link), make(chan error)
	go func() { ended <- h.Links(ctx, func(l []platform.Link) { reports <- l }) }()
	<-reports
	link.Gateway4 = netip.MustParseAddr("192.168.7.1")
	h.SetLinks(link)
	<-reports
	want := []string{"~ route 0.0.0.0/0 via: 192.168.1.1 dev wlan0 table 7343 → 192.168.7.1 dev wlan0 table 7343"}
	if got := h.Changes(); !slices.Equal(got, want) {
		t.Errorf("changed were %q, want %q", got, want)
	}
	cancel()
	<-ended
}

// TestVanish: routes go with their link and with the TUN, as in a kernel; rules stay until Route is called.
func TestVanish(t *testing.T) {
	wlan := platform.Link{Name: "wlan0", Index: 3, Gateway4: netip.MustParseAddr("192.168.1.1")}
	h := New(wlan)
	device, err := h.Tun("tandem0", 1400)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Tun("tandem0", 1400); err == nil {
		t.Error("two devices of one name")
	}
	all := netip.MustParsePrefix("0.0.0.0/0")
	want := platform.Routing{Tun: "tandem0", Links: []string{"wlan0"}, Capture: []netip.Prefix{all}}
	if err := h.Route(want); err != nil {
		t.Fatal(err)
	}
	into, out := platform.Route{Table: 7340, To: all, Dev: "tandem0"}, platform.Route{Table: 7343, To: all, Via: wlan.Gateway4, Dev: "wlan0"}
	check := func(what string, thing platform.Thing, want bool) {
		t.Helper()
		if got := slices.Contains(h.State().Things, thing); got != want {
			t.Errorf("%s: %v is there: %t", what, thing, got)
		}
	}
	check("routed", into, true)
	check("routed", out, true)
	h.SetLinks()
	check("link gone", into, true)
	check("link gone", out, false)
	if err := h.Pin("wlan0")("udp", "", nil); err == nil {
		t.Error("pinned to a link that is gone")
	}
	device.Close()
	check("TUN gone", into, false)
	if err := h.Route(want); err == nil {
		t.Error("routed into a TUN that is gone")
	}
	if err := h.Route(platform.Routing{}); err != nil {
		t.Error(err)
	}
	for _, thing := range h.State().Things {
		if _, ok := thing.(platform.Setting); !ok {
			t.Errorf("left is %v", thing)
		}
	}
}

func TestPin(t *testing.T) {
	h := New(platform.Link{Name: "wlan0", Index: 3}, platform.Link{Name: "wwan0", Index: 4})
	for _, link := range []string{"wwan0", "wlan0"} {
		if err := h.Pin(link)("udp", "", nil); err != nil {
			t.Error(err)
		}
	}
	if got := h.Pinned(); !slices.Equal(got, []string{"wwan0", "wlan0"}) {
		t.Errorf("pinned are %q", got)
	}
}

func TestTun(t *testing.T) {
	made, err := New().Tun("tandem0", 1400)
	if err != nil {
		t.Fatal(err)
	}
	device := made.(*Tun)
	device.Send([]byte("one"))
	device.Send([]byte("two"))
	bufs, sizes := [][]byte{make([]byte, 20), make([]byte, 20), make([]byte, 20)}, make([]int, 3)
	n, err := device.Read(bufs, sizes, 4)
	if n != 2 || err != nil || string(bufs[0][4:4+sizes[0]]) != "one" || string(bufs[1][4:4+sizes[1]]) != "two" {
		t.Errorf("read %d, %v: %q", n, err, bufs)
	}
	if n, err := device.Write([][]byte{[]byte("....three")}, 4); n != 1 || err != nil {
		t.Error(n, err)
	}
	if pkt, err := device.Receive(context.Background()); string(pkt) != "three" || err != nil {
		t.Errorf("received %q, %v", pkt, err)
	}
	if err := errors.Join(device.Close(), device.Close()); err != nil {
		t.Error(err)
	}
	if _, err := device.Read(bufs, sizes, 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("read after closing: %v", err)
	}
	if _, err := device.Write(bufs, 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write after closing: %v", err)
	}
}
