package sim

// A Middlebox stands on a path and passes on what it makes of each packet. back says that the packet
// goes from B to A. Pass does not keep pkt, but may change it.
type Middlebox interface {
	Pass(pkt []byte, back bool, emit func(pkt []byte))
}

// A Keeper is a Middlebox that keeps a packet to see what follows at the same instant.
type Keeper interface {
	Flush(back bool, emit func(pkt []byte))
}
