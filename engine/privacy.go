package engine

import "tandem/engine/mptcp"

// Privacy says how little others shall learn of this end's addresses, AddressType what a network promises of one.
type (
	Privacy     = mptcp.Privacy
	AddressType = mptcp.AddressType
)

// The profiles of privacy, and the address type of which nothing is known.
const (
	PrivacyStandard = mptcp.PrivacyStandard
	PrivacyStrict   = mptcp.PrivacyStrict
	UnknownAddress  = mptcp.UnknownAddress
)

// ParsePrivacy returns the profile of a name that its String gives; ok is false for others.
func ParsePrivacy(name string) (p Privacy, ok bool) { return mptcp.ParsePrivacy(name) }

// ParseAddressType returns the type of a name that its String gives; ok is false for others.
func ParseAddressType(name string) (t AddressType, ok bool) { return mptcp.ParseAddressType(name) }
