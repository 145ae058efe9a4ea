package lab

import (
	"context"
	"fmt"
	"time"

	"tandem/engine/sim"
)

func runKernel(ctx context.Context, t *table, only string) error {
	return playAll(ctx, t, only, interops, caseTime, tandemDials, tandemAccepts)
}

func runBulk(ctx context.Context, t *table, only string) error {
	return playAll(ctx, t, only, bulks, 3*time.Minute, tandemDials, tandemAccepts)
}

func runSelf(ctx context.Context, t *table, only string) error {
	return playAll(ctx, t, only, interops, caseTime, kernelDials)
}

// playAll plays cases in each of those roles.
func playAll(ctx context.Context, t *table, only string, cases []interop, limit time.Duration, roles ...who) error {
	var all []seed
	for _, w := range roles {
		for _, c := range cases {
			all = append(all, c.in(w))
		}
	}
	return trySeeds(ctx, t, only, all, limit)
}

const (
	mib = 1 << 20
	gib = 1 << 30
)

// Shares that links in use have at least, and unused ones at most. How well both are filled is judged
// elsewhere: here a machine that stands still for a moment is a loss to a subflow, from which one that is
// coupled to another (RFC 6356) takes seconds to recover.
var (
	both      = [2]float64{0.05, 0.05}
	firstOnly = [2]float64{0, idle}
)

// interops are the cases that the engine must pass in both roles.
var interops = []interop{
	{name: "one subflow", up: 2 * mib, down: 2 * mib, most: firstOnly,
		needDialer: []string{"MPCapableSYNTX", "MPCapableSYNACKRX"}, needAccepter: []string{"MPCapableSYNRX", "MPCapableACKRX"}},
	{name: "one subflow, IPv6", ipv6: true, up: 2 * mib, down: 2 * mib, most: firstOnly,
		needDialer: []string{"MPCapableSYNACKRX"}, needAccepter: []string{"MPCapableACKRX"}},
	{name: "two subflows, down", dialer: knobs{Join: true}, up: 1, down: 12 * mib, least: both,
		needDialer: joinedOut, needAccepter: joinedIn},
	{name: "two subflows, up", dialer: knobs{Join: true}, up: 12 * mib, down: 1, least: both,
		needDialer: joinedOut, needAccepter: joinedIn},
	{name: "two subflows, both ways, IPv6", ipv6: true, dialer: knobs{Join: true}, up: 8 * mib, down: 8 * mib, least: both,
		needDialer: joinedOut, needAccepter: joinedIn},
	{name: "64 MiB down", dialer: knobs{Join: true}, links: fast, up: 1, down: 64 * mib, least: both,
		needDialer: joinedOut, needAccepter: joinedIn},
	{name: "64 MiB up", dialer: knobs{Join: true}, links: fast, up: 64 * mib, down: 1, least: both,
		needDialer: joinedOut, needAccepter: joinedIn},

	{name: "accepter announces, dialer joins", accepter: knobs{Announce: true}, dialer: knobs{Take: true}, up: 1, down: 12 * mib, least: both,
		needDialer: append([]string{"AddAddr", "EchoAddTx"}, joinedOut...), needAccepter: append([]string{"AddAddrTx", "EchoAdd"}, joinedIn...)},
	{name: "accepter announces, dialer joins, IPv6", ipv6: true, accepter: knobs{Announce: true}, dialer: knobs{Take: true}, up: 1, down: 12 * mib, least: both,
		needDialer: append([]string{"AddAddr", "EchoAddTx"}, joinedOut...), needAccepter: append([]string{"AddAddrTx", "EchoAdd"}, joinedIn...)},
	{name: "dialer announces, accepter joins", dialer: knobs{Announce: true}, accepter: knobs{Take: true}, up: 12 * mib, down: 1, least: both,
		needDialer: []string{"AddAddrTx", "EchoAdd", "MPJoinSynRx", "MPJoinAckRx"}, needAccepter: []string{"AddAddr", "EchoAddTx", "MPJoinSynTx", "MPJoinSynAckRx"}},

	{name: "backup", dialer: knobs{Join: true, Backup: true}, up: 1, down: 6 * mib, most: [2]float64{0, 0.05},
		needDialer: joinedOut, needAccepter: append([]string{"MPJoinSynBackupRx"}, joinedIn...)},
	{name: "backup takes over", dialer: knobs{Join: true, Backup: true}, up: 1, down: 12 * mib, least: [2]float64{0.05, 0.3}, goodput: 15,
		during: firstDies, needDialer: joinedOut, needAccepter: joinedIn},
	{name: "MP_PRIO by the dialer", dialer: knobs{Join: true}, up: 1, down: 24 * mib, most: [2]float64{0, 0.15},
		during:     func(ctx context.Context, s *scene) error { return demote(ctx, s, s.dialing, s.dialer) },
		needDialer: []string{"MPPrioTx"}, needAccepter: []string{"MPPrioRx"}},
	{name: "MP_PRIO by the accepter", accepter: knobs{Announce: true}, dialer: knobs{Take: true}, up: 24 * mib, down: 1, most: [2]float64{0, 0.15},
		during:     func(ctx context.Context, s *scene) error { return demote(ctx, s, s.accepting, s.accepter) },
		needDialer: []string{"MPPrioRx"}, needAccepter: []string{"MPPrioTx"}},
	{name: "REMOVE_ADDR by the dialer", dialer: knobs{Join: true}, up: 1, down: 24 * mib, most: [2]float64{0, 0.15},
		during:     func(ctx context.Context, s *scene) error { return withdraw(ctx, s, s.dialing, s.dialer) },
		needDialer: []string{"RmAddrTx"}, needAccepter: []string{"RmAddr"}, allow: ended},
	{name: "REMOVE_ADDR by the accepter", accepter: knobs{Announce: true}, dialer: knobs{Take: true}, up: 24 * mib, down: 1, most: [2]float64{0, 0.15},
		during:     func(ctx context.Context, s *scene) error { return withdraw(ctx, s, s.accepting, s.accepter) },
		needDialer: []string{"RmAddr"}, needAccepter: []string{"RmAddrTx"}, allow: ended},

	{name: "MP_FASTCLOSE by the dialer", dialer: knobs{Join: true}, up: gib, down: gib, aborts: "dialer",
		needDialer: []string{"MPFastcloseTx"}, needAccepter: []string{"MPFastcloseRx"}},
	{name: "MP_FASTCLOSE by the accepter", dialer: knobs{Join: true}, up: gib, down: gib, aborts: "accepter",
		needDialer: []string{"MPFastcloseRx"}, needAccepter: []string{"MPFastcloseTx"}},
	{name: "half-close", dialer: knobs{Join: true}, up: mib, down: mib, answer: true, needDialer: joinedOut, needAccepter: joinedIn},
	{name: "nothing said", up: 0, down: 0},

	{name: "dialer requires checksums", dialer: knobs{Join: true, Checksum: true}, up: 4 * mib, down: 4 * mib, least: both,
		needDialer: joinedOut, needAccepter: joinedIn, packets: "tcp.options.mptcp.checksum"},
	{name: "accepter requires checksums", dialer: knobs{Join: true}, accepter: knobs{Checksum: true}, up: 4 * mib, down: 4 * mib, least: both,
		needDialer: joinedOut, needAccepter: joinedIn, packets: "tcp.options.mptcp.checksum"},
	{name: "dialer speaks TCP only", dialer: knobs{Plain: true}, accepter: knobs{Announce: true}, up: 2 * mib, down: 2 * mib, fallback: true, most: firstOnly},
	{name: "accepter speaks TCP only", dialer: knobs{Join: true}, accepter: knobs{Plain: true}, up: 2 * mib, down: 2 * mib, fallback: true, most: firstOnly,
		allow: []string{"MPCapableFallbackSYNACK"}},

	{name: "TFO: cookie and data in the SYN", dialer: knobs{FastOpen: true}, accepter: knobs{FastOpen: true}, up: 2 * mib, down: 2 * mib, most: firstOnly,
		needDialer: fastOut, needAccepter: fastIn, packets: dataInSYN},
	{name: "TFO: cookie and data in the SYN, IPv6", ipv6: true, dialer: knobs{FastOpen: true}, accepter: knobs{FastOpen: true}, up: 2 * mib, down: 2 * mib, most: firstOnly,
		needDialer: fastOut, needAccepter: fastIn, packets: dataInSYN},
	{name: "TFO: two subflows, checksums", dialer: knobs{FastOpen: true, Join: true, Checksum: true}, accepter: knobs{FastOpen: true}, up: 8 * mib, down: 8 * mib, least: both,
		needDialer: append(joinedOut, fastOut...), needAccepter: append(joinedIn, fastIn...), packets: dataInSYN,
		allow: append([]string{"MPJoinNoTokenFound"}, ended...)}, // the talk for the cookie may be over before it is joined
	{name: "TFO: the accepter speaks TCP only", dialer: knobs{FastOpen: true}, accepter: knobs{FastOpen: true, Plain: true}, up: 2 * mib, down: 2 * mib, fallback: true, late: true, most: firstOnly,
		needDialer: fastOut, needAccepter: fastIn, packets: dataInSYN, allow: []string{"MPCapableFallbackSYNACK"}},
	{name: "TFO: the accepter gives no cookie", dialer: knobs{FastOpen: true}, up: 2 * mib, down: 2 * mib, most: firstOnly},

	{name: "options of SYNs are stripped", dialer: knobs{Join: true}, up: 2 * mib, down: 2 * mib, fallback: true, most: firstOnly,
		strips: "tcp flags & syn == syn", allow: []string{"MPCapableFallbackSYNACK"}},
	{name: "options of SYNs alone pass, down", dialer: knobs{Join: true}, up: 1, down: 2 * mib, late: true, most: firstOnly,
		strips: "tcp flags & syn == 0", allow: stripped},
	{name: "options of SYNs alone pass, up", dialer: knobs{Join: true}, up: 2 * mib, down: 1, late: true, most: firstOnly,
		strips: "tcp flags & syn == 0", allow: stripped},

	{name: "payload altered on the second link", links: altering, dialer: knobs{Join: true, Checksum: true}, up: 4 * mib, down: 4 * mib,
		needDialer: joinedOut, needAccepter: joinedIn, packets: "tcp.options.mptcp.subtype == 6",
		allow: []string{"DSSCorruptionReset", "DataCsumErr", "MPFailRx", "MPFailTx", "MPRstRx", "MPRstTx"}},

	{name: "first link silent for 2 s", dialer: knobs{Join: true}, up: 1, down: 40 * mib, least: both, goodput: 20,
		during:     func(ctx context.Context, s *scene) error { return nap2s(ctx, s, 0) },
		needDialer: joinedOut, needAccepter: joinedIn},
	{name: "second link silent for 2 s", dialer: knobs{Join: true}, up: 40 * mib, down: 1, least: both, goodput: 20,
		during:     func(ctx context.Context, s *scene) error { return nap2s(ctx, s, 1) },
		needDialer: joinedOut, needAccepter: joinedIn},
	{name: "1 % loss on both links", links: lossy, dialer: knobs{Join: true}, up: 4 * mib, down: 4 * mib, least: both,
		needDialer: joinedOut, needAccepter: joinedIn, allowKernels: []string{"NoDSSInWindow", "MPRstTx", "MPRstRx"}},
}

// bulks are the long transfers.
var bulks = []interop{
	{name: "1 GiB down", dialer: knobs{Join: true}, links: fast, up: 1, down: gib, least: both, goodput: 300, needDialer: joinedOut, needAccepter: joinedIn},
	{name: "1 GiB up", dialer: knobs{Join: true}, links: fast, up: gib, down: 1, least: both, goodput: 300, needDialer: joinedOut, needAccepter: joinedIn},
}

var (
	joinedOut = []string{"MPCapableSYNACKRX", "MPJoinSynTx", "MPJoinSynAckRx"}
	joinedIn  = []string{"MPCapableACKRX", "MPJoinSynRx", "MPJoinAckRx"}
	stripped  = []string{"MPCapableFallbackACK", "MPCapableDataFallback", "DssFallback"}
	fastOut   = []string{"TcpExtTCPFastOpenActive"}
	fastIn    = []string{"TcpExtTCPFastOpenPassive"}
	ended     = []string{"MPRstTx", "MPRstRx"} // a subflow may end with a reset that says why

	fast = []sim.Conditions{
		{Rate: 300e6, Delay: 5 * time.Millisecond, QueueTime: 50 * time.Millisecond, MTU: 1500},
		{Rate: 200e6, Delay: 10 * time.Millisecond, QueueTime: 50 * time.Millisecond, MTU: 1500},
	}
	altering = []sim.Conditions{
		{Rate: 40e6, Delay: 5 * time.Millisecond, QueueTime: 60 * time.Millisecond, MTU: 1500},
		{Rate: 30e6, Delay: 10 * time.Millisecond, QueueTime: 60 * time.Millisecond, MTU: 1500, Alter: 0.005},
	}
	lossy = []sim.Conditions{
		{Rate: 40e6, Delay: 5 * time.Millisecond, QueueTime: 60 * time.Millisecond, MTU: 1500, Loss: 0.01},
		{Rate: 30e6, Delay: 10 * time.Millisecond, QueueTime: 60 * time.Millisecond, MTU: 1500, Loss: 0.01},
	}
)

// dataInSYN are SYNs with a cookie and octets of the application.
const dataInSYN = "tcp.flags.syn == 1 && tcp.flags.ack == 0 && tcp.len > 0 && tcp.options.tfo.cookie"

// until waits for that many octets to be read.
func (p *party) until(ctx context.Context, octets int64) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for p.progress.Load() < octets {
		select {
		case <-ctx.Done():
			return fmt.Errorf("only %d octets were read", p.progress.Load())
		case <-tick.C:
		}
	}
	return nil
}

// demote makes the second link backup once 2 MiB were read.
func demote(ctx context.Context, s *scene, reader *party, by end) error {
	if err := reader.until(ctx, 2*mib); err != nil {
		return err
	}
	defer s.countAnew()
	return by.setBackup(1, true)
}

// withdraw takes the second link's address away once 2 MiB were read.
func withdraw(ctx context.Context, s *scene, reader *party, by end) error {
	if err := reader.until(ctx, 2*mib); err != nil {
		return err
	}
	defer s.countAnew()
	return by.withdraw(1)
}

// firstDies silences the first link for good once 2 MiB were read by the dialer.
func firstDies(ctx context.Context, s *scene) error {
	if err := s.dialing.until(ctx, 2*mib); err != nil {
		return err
	}
	s.ducts[0].silence(true)
	return nil
}

// nap2s silences a link for 2 s once somebody has read 2 MiB.
func nap2s(ctx context.Context, s *scene, link int) error {
	for s.dialing.progress.Load() < 2*mib && s.accepting.progress.Load() < 2*mib {
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	s.ducts[link].silence(true)
	defer s.ducts[link].silence(false)
	return sleep(ctx, 2*time.Second)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
