package wire

import (
	"fmt"
	"strings"
)

// flagLetters are those of tcpdump, in the order of Flags.
const flagLetters = "FSRP.UEW"

// String writes the flags as tcpdump does: "S.", "P.", "none".
func (f Flags) String() string {
	var b strings.Builder
	for i := range len(flagLetters) {
		if f&(1<<i) != 0 {
			b.WriteByte(flagLetters[i])
		}
	}
	if b.Len() == 0 {
		return "none"
	}
	return b.String()
}

// String writes the segment on one line, for traces.
func (s *Segment) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v > %v [%v] seq %d", s.Source, s.Target, s.Flags, s.Seq)
	if n := len(s.Payload); n > 0 {
		fmt.Fprintf(&b, ":%d (%d)", s.Seq.Add(n), n)
	}
	if s.Flags&ACK != 0 {
		fmt.Fprintf(&b, " ack %d", s.Ack)
	}
	fmt.Fprintf(&b, " win %d", s.Window)
	if s.Flags&URG != 0 {
		fmt.Fprintf(&b, " urg %d", s.Urgent)
	}
	if s.TOS&3 != NotECT {
		b.WriteString([...]string{"", " ect1", " ect0", " ce"}[s.TOS&3])
	}
	if s.Options.Has != 0 {
		fmt.Fprintf(&b, " <%v>", &s.Options)
	}
	return b.String()
}

// String lists the options, in the order of OptionSet.
func (o *Options) String() string {
	var all []string
	for rest := o.Has; rest != 0; rest &= rest - 1 {
		if text := o.textOf(rest & -rest); text != "" {
			all = append(all, text)
		}
	}
	return strings.Join(all, ", ")
}

func (o *Options) textOf(has OptionSet) string {
	switch has {
	case HasMSS:
		return fmt.Sprintf("mss %d", o.MSS)
	case HasWindowScale:
		return fmt.Sprintf("wscale %d", o.WindowScale)
	case HasSACKPermitted:
		return "sackOK"
	case HasSACK:
		text := "sack"
		for _, k := range o.SACK[:max(0, min(o.SACKs, len(o.SACK)))] {
			text += fmt.Sprintf(" %d:%d", k.Left, k.Right)
		}
		return text
	case HasTimestamps:
		return fmt.Sprintf("ts %d ecr %d", o.TSVal, o.TSEcr)
	case HasFastOpen:
		return fmt.Sprintf("tfo %x", o.Cookie.Cookie[:min(int(o.Cookie.Len), len(o.Cookie.Cookie))])
	case HasCapable:
		return o.Capable.String()
	case HasJoin:
		return o.Join.String()
	case HasDSS:
		return o.DSS.String()
	case HasAddAddr:
		return o.AddAddr.String()
	case HasRemoveAddr:
		return fmt.Sprintf("remove_addr %v", o.RemoveAddr.IDs[:max(0, min(o.RemoveAddr.N, len(o.RemoveAddr.IDs)))])
	case HasPrio:
		return "prio" + mark(o.Backup, " backup")
	case HasFail:
		return fmt.Sprintf("fail %d", o.FailDSN)
	case HasFastClose:
		return fmt.Sprintf("fastclose %016x", o.CloseKey)
	case HasReset:
		return fmt.Sprintf("reset %v", o.Reset.Reason) + mark(o.Reset.Transient, " transient")
	case HasRobE:
		return "robe"
	case HasJoinCap:
		return fmt.Sprintf("join_cap id %d key %016x mac %x", o.JoinCap.AddressID, o.JoinCap.Key, o.JoinCap.mac())
	case HasLatestRTT:
		return o.LatestRTT.String()
	case HasInactivityTime:
		return o.InactivityTime.String()
	case HasRateLimit:
		if o.RateLimit == Unlimited {
			return "rate_limit none"
		}
		return fmt.Sprintf("rate_limit %d kbit/s", o.RateLimit)
	case HasPrototype:
		return fmt.Sprintf("prototype %d", o.Prototype)
	}
	return ""
}

// mark is text if there is something to mark.
func mark(set bool, text string) string {
	if set {
		return text
	}
	return ""
}

// String writes the fields that Length says are there.
func (c *Capable) String() string {
	text := fmt.Sprintf("capable v%d flags %02x", c.Version, uint8(c.Flags))
	if c.Length >= 12 {
		text += fmt.Sprintf(" %016x", c.Sender)
	}
	if c.Length >= 20 {
		text += fmt.Sprintf(" %016x", c.Receiver)
	}
	if c.Length >= 22 {
		text += fmt.Sprintf(" len %d", c.DataLen)
	}
	if c.Length >= 24 {
		text += fmt.Sprintf(" csum %04x", c.Checksum)
	}
	return text
}

// String writes the fields that Length says are there.
func (j *Join) String() string {
	switch j.Length {
	case 12:
		return fmt.Sprintf("join id %d token %08x nonce %08x", j.AddressID, j.Token, j.Nonce) + mark(j.Backup, " backup")
	case 16:
		return fmt.Sprintf("join id %d mac %x nonce %08x", j.AddressID, j.MAC[:8], j.Nonce) + mark(j.Backup, " backup")
	}
	return fmt.Sprintf("join mac %x", j.MAC)
}

// String writes numbers with the widths they have on the wire: "ack8" has 8 octets, "ack4" has 4.
func (d *DSS) String() string {
	text := "dss"
	if d.HasAck {
		text += fmt.Sprintf(" ack%d %d", wide(d.Ack64), d.Ack)
	}
	if d.HasMap {
		text += fmt.Sprintf(" map%d %d ssn %d len %d", wide(d.Map64), d.DSN, d.SSN, d.DataLen) + mark(d.Fin, " fin")
		if d.HasChecksum {
			text += fmt.Sprintf(" csum %04x", d.Checksum)
		}
	}
	return text
}

// String writes the address, with its port if it has one.
func (a *AddAddr) String() string {
	text := fmt.Sprintf("add_addr id %d %v", a.ID, a.Addr)
	if a.Port != 0 || a.ZeroPort {
		text += fmt.Sprintf(" port %d", a.Port)
	}
	if a.Echo {
		return text + " echo"
	}
	return text + fmt.Sprintf(" mac %016x", a.MAC)
}

// String writes the fields that Length says are there.
func (l *LatestRTT) String() string {
	if l.Length < 8 {
		return "latest_rtt"
	}
	return fmt.Sprintf("latest_rtt %d us", l.RTT)
}

// String writes the time with its unit.
func (i *InactivityTime) String() string {
	unit := "s"
	if i.Minutes {
		unit = "min"
	}
	return fmt.Sprintf("inactivity_time %d %s", i.Value, unit) + mark(i.Request, " request")
}

// String names the reason.
func (r Reason) String() string {
	names := [...]string{"unspecified", "MPTCP error", "lack of resources", "prohibited", "too much data", "unacceptable", "middlebox"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}
