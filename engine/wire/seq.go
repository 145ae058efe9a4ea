package wire

import "math"

// Seq is a TCP sequence number; it wraps at 2^32 (RFC 9293 3.4).
type Seq uint32

// Add returns the sequence number n octets after s.
func (s Seq) Add(n int) Seq { return s + Seq(n) }

// Sub returns the signed distance from t to s, exact while they are less than 2^31 apart.
func (s Seq) Sub(t Seq) int { return int(int32(s - t)) }

// Less reports whether s comes before t.
func (s Seq) Less(t Seq) bool { return int32(s-t) < 0 }

// LessEq reports whether s comes before t or equals it.
func (s Seq) LessEq(t Seq) bool { return int32(s-t) <= 0 }

// DSN is a data sequence number of an MPTCP connection; it wraps at 2^64 (RFC 8684 3.3.1).
type DSN uint64

// Add returns the number n octets after d.
func (d DSN) Add(n int) DSN { return d + DSN(n) }

// Sub returns the signed distance from e to d, or the nearest that an int holds.
func (d DSN) Sub(e DSN) int { return int(min(max(int64(d-e), math.MinInt), math.MaxInt)) }

// Less reports whether d comes before e.
func (d DSN) Less(e DSN) bool { return int64(d-e) < 0 }

// LessEq reports whether d comes before e or equals it.
func (d DSN) LessEq(e DSN) bool { return int64(d-e) <= 0 }

// Extend returns the number nearest to d whose low 32 bits are low (RFC 8684 3.3.1).
func (d DSN) Extend(low uint32) DSN { return d + DSN(int64(int32(low-uint32(d)))) }
