package carrier

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
)

// mtuDefault is the MTU inside a carrier over IPv6 on a link of 1500 octets.
const mtuDefault = 1408

// A guard is a WireGuard device and the TUN it reads: what a carrier and a hub have in common.
type guard struct {
	device *device.Device
	inner  *inner
	keep   func(any) // what the Bind wants to keep, or nil
}

// A keeper is a Bind under which peers must not become garbage: wireguard-go drains their queues in a
// finalizer, and outside a testing/synctest bubble nobody may touch the channels made inside.
type keeper interface{ Keep(any) }

// open starts a device that has no peers yet.
func open(private Key, bind conn.Bind, mtu, queue int, receive func([][]byte), log *slog.Logger) (guard, error) {
	switch {
	case private.IsZero():
		return guard{}, errors.New("carrier: no private key")
	case bind == nil:
		return guard{}, errors.New("carrier: no bind")
	case mtu < 0 || mtu > device.MaxContentSize:
		return guard{}, fmt.Errorf("carrier: an MTU of %d octets", mtu)
	case mtu == 0:
		mtu = mtuDefault
	}
	in := newInner(mtu, queue, receive)
	g := guard{device: device.NewDevice(in, meter{bind, in}, logger(log)), inner: in}
	if k, ok := bind.(keeper); ok {
		g.keep = k.Keep
	}
	err := g.device.SetPrivateKey(device.NoisePrivateKey(private))
	if err == nil {
		err = g.device.Up()
	}
	if err != nil {
		g.device.Close()
		return guard{}, fmt.Errorf("carrier: open: %w", err)
	}
	return g, nil
}

func (g guard) close() error {
	g.device.Close()
	return nil
}

// A peering is what a device is told of a peer, in the words of WireGuard's cross-platform interface.
type peering struct {
	key       Key
	update    bool // the peer is known
	endpoint  netip.AddrPort
	allowed   []netip.Prefix
	keepalive time.Duration
}

func (g guard) set(p peering) error {
	var b strings.Builder
	say := func(key string, value any) { fmt.Fprintf(&b, "%s=%v\n", key, value) }
	say("public_key", hex.EncodeToString(p.key[:]))
	if p.update {
		say("update_only", true)
	}
	if p.endpoint.IsValid() {
		say("endpoint", p.endpoint)
	}
	for _, prefix := range p.allowed {
		say("allowed_ip", prefix)
	}
	if p.keepalive > 0 {
		say("persistent_keepalive_interval", int64((p.keepalive+time.Second-1)/time.Second))
	}
	err := g.device.IpcSet(b.String())
	if g.keep != nil {
		g.keep(g.device.LookupPeer(p.key.noise()))
	}
	return err
}

// logger gives wireguard-go's messages to a log, at debug: all of them tell of the world, none of a bug.
// They name peers by the ends of their public keys.
func logger(log *slog.Logger) *device.Logger {
	if log == nil {
		return &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf}
	}
	say := func(format string, args ...any) {
		if log.Enabled(context.Background(), slog.LevelDebug) {
			log.Debug("wireguard: " + fmt.Sprintf(format, args...))
		}
	}
	return &device.Logger{Verbosef: say, Errorf: say}
}
