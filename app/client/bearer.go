package client

import (
	"sync/atomic"

	"tandem/tunnel/carrier"
)

// A bearer carries the packets of a link: to a hub inside WireGuard, or as they are.
type bearer interface {
	Send(pkts [][]byte) error
	Stats() carrier.Stats
	Renew() // asks the other end for a sign of life
	Close() error
}

var _ bearer = (*carrier.Carrier)(nil)

// A bearerPlace holds a bearer, or none, for whoever looks.
type bearerPlace struct{ at atomic.Pointer[bearer] }

// Load returns what is there, or nil.
func (p *bearerPlace) Load() bearer { return content(p.at.Load()) }

// Store puts a bearer there.
func (p *bearerPlace) Store(b bearer) { p.at.Store(&b) }

// Take returns what is there, or nil, and leaves nothing.
func (p *bearerPlace) Take() bearer { return content(p.at.Swap(nil)) }

func content(b *bearer) bearer {
	if b == nil {
		return nil
	}
	return *b
}
