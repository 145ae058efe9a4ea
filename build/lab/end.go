package lab

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
)

// knobs say how one end of an interop case behaves.
type knobs struct {
	Join     bool // opens a subflow over its second link by itself
	Backup   bool // the second link is backup
	Announce bool // announces its address on the second link
	Take     bool // opens subflows to addresses that the other announces
	Checksum bool // requires checksums
	Plain    bool // speaks TCP only
	FastOpen bool // TCP Fast Open
}

// An end is one of the two hosts of an interop case.
type end interface {
	prepare(k knobs) error
	listen(ctx context.Context, at netip.AddrPort, t talk) (*party, error) // returns once it listens
	dial(ctx context.Context, target netip.AddrPort, t talk) (*party, error)
	setBackup(link int, backup bool) error          // MP_PRIO
	withdraw(link int) error                        // REMOVE_ADDR
	counters(ctx context.Context) (counters, error) // nil when it has none
	close()
}

// kernelEnd is Linux in a namespace.
type kernelEnd struct {
	space *space
	side  side
	ipv6  bool
	plain bool
	fast  bool
	dials bool
}

// announcedPort is where a dialling kernel takes joins: unlike a listener's, its own port takes none.
const announcedPort = 7700

func (e *kernelEnd) prepare(k knobs) error {
	e.plain, e.fast = k.Plain, k.FastOpen
	if k.FastOpen {
		if err := e.space.sysctl("net.ipv4.tcp_fastopen=" + allFastOpens); err != nil {
			return err
		}
	}
	accepted := 0
	if k.Take {
		accepted = 2
	}
	lines := []string{fmt.Sprintf("mptcp limits set subflows 2 add_addr_accepted %d", accepted)}
	if k.Join || k.Announce {
		line := fmt.Sprintf("mptcp endpoint add %s dev %s id %d", address(1, e.side, e.ipv6), device(1), endpointID(1))
		if k.Announce && e.dials {
			line += fmt.Sprintf(" port %d", announcedPort)
		}
		if k.Join {
			line += " subflow"
		}
		if k.Announce {
			line += " signal"
		}
		if k.Backup {
			line += " backup"
		}
		lines = append(lines, line)
	}
	if k.Checksum {
		if err := e.space.sysctl("net.mptcp.checksum_enabled=1"); err != nil {
			return err
		}
	}
	return e.space.ip(lines...)
}

// allFastOpens has the kernel use Fast Open as client, as server, and for every listener.
const allFastOpens = "1027"

// endpointID is the address ID that the kernel uses for a link's address; 0 is the first subflow's.
func endpointID(link int) int { return link + 10 }

// listen listens on every address: the kernel answers joins to announced ones from the same listener.
func (e *kernelEnd) listen(ctx context.Context, at netip.AddrPort, t talk) (*party, error) {
	all := netip.IPv4Unspecified()
	if e.ipv6 {
		all = netip.IPv6Unspecified()
	}
	return e.send(ctx, errand{Listen: netip.AddrPortFrom(all, at.Port()).String(), Plain: e.plain, Talk: t})
}

func (e *kernelEnd) dial(ctx context.Context, target netip.AddrPort, t talk) (*party, error) {
	return e.send(ctx, errand{Dial: target.String(), Plain: e.plain, FastOpen: e.fast, Talk: t})
}

func (e *kernelEnd) send(ctx context.Context, task errand) (*party, error) {
	p, err := send(ctx, e.space, task)
	if err == nil && task.Listen != "" {
		<-p.ready
	}
	return p, err
}

func (e *kernelEnd) setBackup(link int, backup bool) error {
	flag := "nobackup"
	if backup {
		flag = "backup"
	}
	return e.space.ip("mptcp endpoint change id " + strconv.Itoa(endpointID(link)) + " " + flag)
}

func (e *kernelEnd) withdraw(link int) error {
	return e.space.ip("mptcp endpoint delete id " + strconv.Itoa(endpointID(link)))
}

func (e *kernelEnd) counters(ctx context.Context) (counters, error) {
	return readCounters(ctx, e.space)
}

func (e *kernelEnd) close() { e.space.remove() }
