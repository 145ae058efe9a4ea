package config

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"tandem/app/invite"
	"tandem/tunnel/carrier"
)

// Membership is what joining a hub made: who the hub is, and who this device is to it. The private keys
// never leave this machine.
type Membership struct {
	Hub       carrier.Key        `json:"hub"` // its public key
	HubName   string             `json:"hub_name"`
	Endpoints []string           `json:"endpoints"` // HOST:PORT, best first
	Name      string             `json:"name"`      // of this device at the hub
	Device    int                `json:"device"`    // its number there
	Slots     [invite.Slots]Slot `json:"slots"`
}

// Slot is a private key with addresses of its own at the hub, and the link that used it last.
type Slot struct {
	Key  carrier.Key `json:"key"`
	Link string      `json:"link"` // its ID; "": not used yet
	Used time.Time   `json:"used"`
}

// Validate says what is wrong with a membership whose parts have the right types.
func (m *Membership) Validate() error {
	switch {
	case m.Hub == carrier.Key{}:
		return errors.New("hub: no key")
	case len(m.Endpoints) == 0:
		return errors.New("endpoints: none")
	case m.Device < 1 || m.Device > invite.DevicesMax:
		return fmt.Errorf("device: %d is not between 1 and %d", m.Device, invite.DevicesMax)
	}
	for _, e := range m.Endpoints {
		if err := invite.CheckEndpoint(e); err != nil {
			return fmt.Errorf("endpoints: %w", err)
		}
	}
	for i, s := range m.Slots {
		if s.Key == (carrier.Key{}) {
			return fmt.Errorf("slots: number %d has no key", i)
		}
	}
	return nil
}

// Take gives a link a slot: the one it had last, else one that no link has used yet, else the least
// recently used of those that are not busy. It returns false when all are busy.
func (m *Membership) Take(link string, busy func(slot int) bool, now time.Time) (slot int, ok bool) {
	slot = -1
	for i, s := range m.Slots {
		if busy(i) {
			continue
		}
		if s.Link == link {
			slot = i
			break
		}
		if slot < 0 || s.Used.Before(m.Slots[slot].Used) {
			slot = i
		}
	}
	if slot < 0 {
		return 0, false
	}
	m.Slots[slot].Link, m.Slots[slot].Used = link, now.UTC().Truncate(time.Second)
	return slot, true
}

// Membership reads which hub this device belongs to; an ErrNotJoined when there is none.
func (f Folder) Membership() (m Membership, err error) {
	err = f.load(membershipFile, &m)
	if errors.Is(err, fs.ErrNotExist) {
		err = f.NotJoined()
	}
	return m, err
}

// SaveMembership writes which hub this device belongs to.
func (f Folder) SaveMembership(m Membership) error {
	return f.replace(membershipFile, m, new(Membership))
}

// Leave forgets the hub, and the keys with it. It needs no membership that can be read.
func (f Folder) Leave() error {
	return errors.Join(f.remove(membershipFile), f.remove(pendingFile), f.remove(endpointsFile))
}

// Pending are the keys with which this device has asked to enrol and heard no answer yet. Who asks again
// with the same invite and the same keys gets the same answer.
type Pending struct {
	Invite string                    `json:"invite"` // public key of the invite's one-time key
	Keys   [invite.Slots]carrier.Key `json:"keys"`
}

// Pending reads the keys for an invite, or makes new ones.
func (f Folder) Pending(inviteKey string) (Pending, error) {
	var p Pending
	err := f.load(pendingFile, &p)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	if p.Invite == inviteKey {
		return p, nil
	}
	p.Invite = inviteKey
	for i := range p.Keys {
		p.Keys[i] = carrier.NewKey()
	}
	return p, nil
}

// SavePending writes keys before they are sent.
func (f Folder) SavePending(p Pending) error { return f.replace(pendingFile, p, new(Pending)) }

// DropPending forgets them: the hub has answered.
func (f Folder) DropPending() error { return f.remove(pendingFile) }
