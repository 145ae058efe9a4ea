package datagram

import (
	"encoding/hex"
	"net/netip"
	"testing"
	"time"

	"tandem/engine/wire"
)

// What stands on the wire is for ever.
func TestReasonsAreFixed(t *testing.T) {
	for why, octet := range map[wire.Reason]byte{HostRefused: 0x80, HostUnreachable: 0x81, NetworkUnreachable: 0x82, TimedOut: 0x83} {
		if byte(why) != octet {
			t.Errorf("%d, want %d", why, octet)
		}
	}
	o := OfferID{40000, netip.MustParseAddrPort("192.0.2.7:443")}
	got := hex.EncodeToString(appendOffer(nil, &news{kind: refused, seq: 4, offer: o, reason: byte(HostUnreachable)}, 0))
	if want := "07010014" + "00000004" + "00000000" + "9c4001bb" + "81040000" + "c0000207"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A reason of the lane's own comes as it was told.
func TestOwnReasonArrives(t *testing.T) {
	w := newWorld(t, 1)
	w.ends[1].Refused(w.now, offer(1), NetworkUnreachable)
	w.run(time.Second)
	if es := w.got(0, PeerRefused); len(es) != 1 || es[0].Reason != NetworkUnreachable {
		t.Fatalf("%+v", es)
	}
}

// Strangers hear no word that is not in RFC 8684.
func TestStandard(t *testing.T) {
	for why, want := range map[wire.Reason]wire.Reason{
		wire.LackOfResources: wire.LackOfResources,
		wire.Prohibited:      wire.Prohibited,
		wire.Middlebox:       wire.Middlebox,
		HostRefused:          wire.Unspecified,
		HostUnreachable:      wire.Unspecified,
		NetworkUnreachable:   wire.Unspecified,
		TimedOut:             wire.Unacceptable,
		0xff:                 wire.Unspecified,
	} {
		if got := Standard(why); got != want {
			t.Errorf("%v: %v, want %v", why, got, want)
		}
	}
}
