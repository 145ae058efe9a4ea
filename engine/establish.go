package engine

import "tandem/engine/mptcp"

// Establish says over which paths a connection is asked for, and when.
type Establish = mptcp.Establish

// The ways to establish a connection.
const (
	Auto     = mptcp.Auto
	Classic  = mptcp.Classic
	Timer    = mptcp.Timer
	SIM      = mptcp.SIM
	ESIM     = mptcp.ESIM
	IPS      = mptcp.IPS
	IPSTimer = mptcp.IPSTimer
	IPSSIM   = mptcp.IPSSIM
)

// ParseEstablish returns the mode of a name that its String gives; ok is false for others.
func ParseEstablish(name string) (e Establish, ok bool) { return mptcp.ParseEstablish(name) }
