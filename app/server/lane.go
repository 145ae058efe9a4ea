package server

import (
	"context"
	"net/netip"

	"tandem/app/invite"
	"tandem/engine"
	"tandem/tunnel/relay"
)

// newLane makes the hub's end of a device's datagrams, and has the bond that is made with cfg use it. They
// leave through whatever bond the session has.
func (s *Server) newLane(cfg *engine.BondConfig, x *session) *relay.Datagrams {
	host4, host6 := invite.HostAddrs(s.public)
	d := relay.NewDatagrams(relay.DatagramsConfig{
		Host4: host4, Host6: host6, Hub4: s.inner4, Hub6: s.inner6,
		Reach: func(network string, target netip.AddrPort) error { return x.rules().Check(network, target) },
		Send:  func(pkts [][]byte) { x.bond.SendPackets(pkts) },
		DNS: func(ctx context.Context, q []byte) []byte {
			return s.resolver.answer(ctx, q, false, x.rules(), &x.asking)
		},
		Mappings: mappingsMax,
		Take:     x.ports.take,
		Give:     x.ports.give,
		MTU:      mtuOver6,
		Log:      s.log,
	})
	cfg.Datagrams = engine.DatagramConfig{Host4: host4, Host6: host6}
	cfg.Packets = d.Receive
	return d
}
