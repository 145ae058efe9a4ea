package server

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// A revoked is who comes no more: a device, or whoever has one of some invites.
type revoked struct {
	device  *deviceRecord // nil: none
	invites []inviteRecord
}

// revoke makes the device of that name one that the hub does not accept, or when there is none withdraws the
// open invites that go by it.
func (r *registry) revoke(name string, now time.Time) (gone revoked, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := r.named(name); d != nil {
		after := *d
		after.Revoked = now
		if err := r.store.apply(change{bucketDevices, after.Number, after}); err != nil {
			return gone, err
		}
		*d = after
		gone.device = &after
		return gone, nil
	}
	var changes []change
	for _, n := range slices.Sorted(maps.Keys(r.invites)) {
		if i := r.invites[n]; i.id() == name && i.Joined.IsZero() && !i.over(now) {
			gone.invites = append(gone.invites, *i)
			changes = append(changes, change{bucketInvites, n, nil})
		}
	}
	if len(changes) == 0 {
		return gone, r.noneToRevoke(name)
	}
	if err := r.store.apply(changes...); err != nil {
		return revoked{}, err
	}
	for _, i := range gone.invites {
		delete(r.invites, i.Number)
	}
	return gone, nil
}

func (r *registry) noneToRevoke(name string) error {
	for _, d := range r.devices {
		if d.Name == name {
			return fmt.Errorf("%s is revoked already", name)
		}
	}
	return fmt.Errorf("no device and no open invite is called %q: see tandem-hub devices", name)
}

// Revoke has the hub accept a device no more. Its connections are reset before Revoke returns.
func (s *Server) Revoke(name string) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	gone, err := s.registry.revoke(name, time.Now())
	if err != nil {
		return err
	}
	if gone.device == nil {
		s.closeDesks(gone.invites)
		s.log.Info("invite withdrawn", "name", name)
		return nil
	}
	if d := s.device(gone.device.Number); d != nil {
		d.revoke()
	}
	s.log.Info("device revoked", "device", name)
	return nil
}

// closeDesks lets nobody enrol with invites that are over.
func (s *Server) closeDesks(invites []inviteRecord) {
	for _, i := range invites {
		s.mu.Lock()
		d := s.desks[i.Number]
		delete(s.desks, i.Number)
		s.mu.Unlock()
		if d != nil {
			d.remove()
		}
	}
}
