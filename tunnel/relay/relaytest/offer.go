package relaytest

import (
	"context"
	"errors"
	"net/netip"
	"sync"

	"tandem/tunnel/relay"
)

// ErrLeft is what an offer's Accept fails with after Leave.
var ErrLeft = errors.New("the asker left")

// An Offer is a relay.Offer whose asker is the test.
type Offer struct {
	asker, accepted *End
	gone            chan struct{}
	answered        chan struct{}
	once, leaving   sync.Once
	refused         error
}

// NewOffer returns an offer that nobody has answered.
func NewOffer(source, target netip.AddrPort) *Offer {
	asker, accepted := Pipe(source, target)
	return &Offer{asker: asker, accepted: accepted, gone: make(chan struct{}), answered: make(chan struct{})}
}

// Source is who asks.
func (o *Offer) Source() netip.AddrPort { return o.asker.local }

// Target is who is asked for.
func (o *Offer) Target() netip.AddrPort { return o.asker.remote }

// Gone is closed by Leave.
func (o *Offer) Gone() <-chan struct{} { return o.gone }

// Leave is the asker's going, before the answer or after.
func (o *Offer) Leave() { o.leaving.Do(func() { close(o.gone) }) }

// Accept gives the relay its end.
func (o *Offer) Accept() (relay.Stream, error) {
	select {
	case <-o.gone:
		return nil, ErrLeft
	default:
	}
	o.once.Do(func() { close(o.answered) })
	return o.accepted, nil
}

// Refuse tells the asker why.
func (o *Offer) Refuse(why error) {
	o.once.Do(func() {
		o.refused = why
		close(o.answered)
	})
}

// Asker waits for the answer: the asker's end of the connection, or why it was refused.
func (o *Offer) Asker(ctx context.Context) (*End, error) {
	select {
	case <-o.answered:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if o.refused != nil {
		return nil, o.refused
	}
	return o.asker, nil
}

// Relayed is the relay's end, which tells whether it was aborted and why.
func (o *Offer) Relayed() *End { return o.accepted }
