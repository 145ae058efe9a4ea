package client

import (
	"context"

	"tandem/tunnel/capture"
	"tandem/tunnel/relay"
)

const (
	tunName = "tandem0"

	// tunMTU is what a path carries over most links, IPv6 carriers included: 1500 - 80, rounded down to 16.
	tunMTU = 1408
)

// startTun captures what the system sends into a TUN. Routes lead there only when the hub has answered.
func (v *live) startTun() error {
	device, err := v.cfg.Host.Tun(tunName, tunMTU)
	if err != nil {
		return err
	}
	if v.tun, err = device.Name(); err != nil {
		device.Close()
		return err
	}
	k, err := capture.New(capture.Config{
		Device: device, Addr4: v.inner.host4, Addr6: v.inner.host6, Packets: v.packets(), Refuse: v.refuse, Log: v.log,
	})
	if err != nil {
		device.Close()
		return err
	}
	v.lane.inject.Store(new(k.Inject))
	v.serve("capture", k.Run, func(ctx context.Context) (relay.Offer, error) {
		o, err := k.Accept(ctx)
		if err != nil {
			return nil, err
		}
		return o, nil
	})
	return nil
}
