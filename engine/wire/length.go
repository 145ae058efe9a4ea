package wire

// Lengths of options that have only one.
const (
	MSSLen           = 4
	WindowScaleLen   = 3
	SACKPermittedLen = 2
	TimestampsLen    = 10
	PrioLen          = 3
	FailLen          = 12
	FastCloseLen     = 12
	ResetLen         = 4
	RobELen          = 4
	RateLimitLen     = 8
	PrototypeLen     = 4
)

// SACKLen is the length of a SACK option of n blocks.
func SACKLen(n int) int { return 2 + 8*n }

// Length is the length of the option in octets, 0 if there is no such cookie.
func (f *FastOpen) Length() int {
	if !validCookie(int(f.Len)) {
		return 0
	}
	return 2 + int(f.Len)
}

// Len is the length of the option in octets, 0 if Length is none that exists.
func (c *Capable) Len() int {
	switch c.Length {
	case 4, 12, 20, 22, 24:
		return int(c.Length)
	}
	return 0
}

// Len is the length of the option in octets, 0 if Length is none that exists.
func (j *Join) Len() int {
	switch j.Length {
	case 12, 16, 24:
		return int(j.Length)
	}
	return 0
}

// Len is the length of the option in octets.
func (d *DSS) Len() int {
	n := 4
	if d.HasAck {
		n += wide(d.Ack64)
	}
	if d.HasMap {
		n += wide(d.Map64) + 6
		if d.HasChecksum {
			n += 2
		}
	}
	return n
}

// wide is the length of a data sequence number.
func wide(is64 bool) int {
	if is64 {
		return 8
	}
	return 4
}

// Len is the length of the option in octets, 0 without an address.
func (a *AddAddr) Len() int {
	n := 4 + a.Addr.BitLen()/8
	if n == 4 {
		return 0
	}
	if a.Port != 0 || a.ZeroPort {
		n += 2
	}
	if !a.Echo {
		n += 8
	}
	return n
}

// Len is the length of the option in octets, 0 unless N is 1 to 8.
func (r *RemoveAddr) Len() int {
	if r.N < 1 || r.N > len(r.IDs) {
		return 0
	}
	return 3 + r.N
}

// Len is the length of the option in octets, 0 if Length is none that exists.
func (c *JoinCap) Len() int {
	if c.Length < 24 || c.Length > 28 {
		return 0
	}
	return int(c.Length)
}

// Len is the length of the option in octets, 0 if Length is none that exists.
func (l *LatestRTT) Len() int {
	switch l.Length {
	case 4, 8:
		return int(l.Length)
	}
	return 0
}

// Len is the length of the option in octets, 0 without a time.
func (i *InactivityTime) Len() int {
	if i.Value == 0 {
		return 0
	}
	return 8
}

// Len is the sum of the lengths of all options in Has, which may be more than fit. Padding counts
// only once, for all together: up to the next multiple of 4, so that Len() <= MaxOptions means that
// nothing will be left out.
func (o *Options) Len() int {
	n := 0
	for rest := o.Has; rest != 0; rest &= rest - 1 {
		n += o.lenOf(rest & -rest)
	}
	return n
}

// lenOf is the length of one option.
func (o *Options) lenOf(has OptionSet) int {
	switch has {
	case HasMSS:
		return MSSLen
	case HasWindowScale:
		return WindowScaleLen
	case HasSACKPermitted:
		return SACKPermittedLen
	case HasSACK:
		if n := min(o.SACKs, len(o.SACK)); n > 0 {
			return SACKLen(n)
		}
	case HasTimestamps:
		return TimestampsLen
	case HasFastOpen:
		return o.Cookie.Length()
	case HasCapable:
		return o.Capable.Len()
	case HasJoin:
		return o.Join.Len()
	case HasDSS:
		return o.DSS.Len()
	case HasAddAddr:
		return o.AddAddr.Len()
	case HasRemoveAddr:
		return o.RemoveAddr.Len()
	case HasPrio:
		return PrioLen
	case HasFail:
		return FailLen
	case HasFastClose:
		return FastCloseLen
	case HasReset:
		return ResetLen
	case HasRobE:
		return RobELen
	case HasJoinCap:
		return o.JoinCap.Len()
	case HasLatestRTT:
		return o.LatestRTT.Len()
	case HasInactivityTime:
		return o.InactivityTime.Len()
	case HasRateLimit:
		return RateLimitLen
	case HasPrototype:
		return PrototypeLen
	}
	return 0
}

// A fit is the choice of options that fit into a header together.
type fit struct {
	has    OptionSet
	blocks int // of SACK
	len    int // unpadded
}

func (f fit) padded() int { return (f.len + 3) &^ 3 }

// fit chooses in the order of OptionSet; SACK takes what is left.
func (o *Options) fit() fit {
	var f fit
	for rest := o.Has &^ HasSACK; rest != 0; rest &= rest - 1 {
		has := rest & -rest
		if n := o.lenOf(has); n > 0 && f.len+n <= MaxOptions {
			f.has |= has
			f.len += n
		}
	}
	if o.Has&HasSACK != 0 {
		f.blocks = min(o.SACKs, (MaxOptions-f.len-SACKLen(0))/8)
		if f.blocks > 0 {
			f.has |= HasSACK
			f.len += SACKLen(f.blocks)
		}
	}
	return f
}
