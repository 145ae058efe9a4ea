package server

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"tandem/app/invite"
	"tandem/app/tally"
)

// An Owner is what the hub's owner commands, be the hub running or not.
type Owner interface {
	// Invite opens an invite. The error says what to do.
	Invite(InviteOptions) (invite.Code, error)
	// Devices lists devices and open invites.
	Devices() (Listing, error)
	// Revoke has the hub accept a device no more, from now on. When no device has that name it withdraws the
	// open invites that go by it.
	Revoke(name string) error
	// Running reports whether the hub runs, so that what was commanded has effect now.
	Running() bool
	// Close lets go of the hub. It does not stop one that runs elsewhere.
	Close() error
}

// A Listing is who has joined and who may.
type Listing struct {
	Devices   []DeviceInfo `json:"devices"`
	Invites   []InviteInfo `json:"invites"`
	Endpoints []string     `json:"endpoints"`       // where devices find the hub
	Doubt     string       `json:"doubt,omitempty"` // one sentence: why they may not, and what to do
}

// DeviceInfo is a picture of a device.
type DeviceInfo struct {
	Name        string     `json:"name"`
	Number      int        `json:"number"`
	Online      bool       `json:"online"` // heard within the last minutes
	Connections int        `json:"connections"`
	Received    uint64     `json:"rx_bytes"` // on the wire, since it joined
	Sent        uint64     `json:"tx_bytes"`
	Joined      time.Time  `json:"joined"`
	Seen        *time.Time `json:"seen,omitempty"` // nil: never
	Revoked     *time.Time `json:"revoked,omitempty"`
	AllowLAN    bool       `json:"allow_lan"`
	Foreign     int        `json:"foreign_joins"` // attempts of others to join with its invite
	Links       []LinkInfo `json:"links"`         // that it has used

	// Counters are what its connections have counted since the hub started; nil: the hub does not run.
	Counters tally.Tally `json:"counters,omitempty"`
}

// LinkInfo is a picture of a slot.
type LinkInfo struct {
	Slot     int    `json:"slot"`
	Endpoint string `json:"endpoint"`
	Active   bool   `json:"active"` // a path of the device's bond
}

// InviteInfo is a picture of an invite.
type InviteInfo struct {
	ID       string    `json:"id"`             // what it goes by: Name, or invite:NUMBER
	Name     string    `json:"name,omitempty"` // of the device that it is for
	Expires  time.Time `json:"expires"`
	UsedBy   string    `json:"used_by,omitempty"`
	AllowLAN bool      `json:"allow_lan"`
	Replace  bool      `json:"replace"`
	Stale    bool      `json:"stale"` // the hub is at none of its code's endpoints any more
}

// list pictures what a registry knows.
func (r *registry) list(now time.Time) Listing {
	p := r.picture()
	l := Listing{Devices: []DeviceInfo{}, Invites: []InviteInfo{}, Endpoints: p.hub.Endpoints, Doubt: p.hub.Doubt}
	names := map[int]string{}
	for i, d := range p.devices {
		names[d.Number] = d.Name
		t := p.traffic[i]
		info := DeviceInfo{
			Name: d.Name, Number: d.Number, Joined: d.Joined, AllowLAN: d.AllowLAN, Foreign: d.Foreign,
			Received: t.Received, Sent: t.Sent, Links: []LinkInfo{},
		}
		if !t.Seen.IsZero() {
			info.Seen = &t.Seen
		}
		if d.revoked() {
			info.Revoked = &d.Revoked
		}
		for n, e := range t.Endpoints {
			if e.IsValid() {
				info.Links = append(info.Links, LinkInfo{Slot: n, Endpoint: e.String()})
			}
		}
		l.Devices = append(l.Devices, info)
	}
	for _, i := range p.invites {
		if !i.over(now) {
			l.Invites = append(l.Invites, InviteInfo{
				ID: i.id(), Name: i.Name, Expires: i.Expires, UsedBy: names[i.Device], AllowLAN: i.AllowLAN, Replace: i.Replace,
				Stale: i.Endpoints != nil && !slices.ContainsFunc(i.Endpoints, func(e string) bool { return slices.Contains(p.hub.Endpoints, e) }),
			})
		}
	}
	return l
}

// Invite opens an invite. It is good at once.
func (s *Server) Invite(o InviteOptions) (invite.Code, error) {
	if err := s.sweep(time.Now()); err != nil {
		return invite.Code{}, err
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	c, i, err := s.registry.invite(o, time.Now())
	if err != nil {
		return invite.Code{}, err
	}
	d, err := s.openDesk(i)
	if err != nil {
		return invite.Code{}, err
	}
	s.mu.Lock()
	s.desks[i.Number] = d
	s.mu.Unlock()
	s.log.Info("invite made", "invite", i.Number, "name", i.Name, "expires", i.Expires)
	return c, nil
}

// Devices lists devices and open invites.
func (s *Server) Devices() (Listing, error) {
	s.survey(time.Now())
	l := s.registry.list(time.Now())
	for i := range l.Devices {
		if d := s.device(l.Devices[i].Number); d != nil {
			d.describe(&l.Devices[i])
		}
	}
	return l, nil
}

// describe adds what only a running hub knows.
func (d *device) describe(info *DeviceInfo) {
	info.Connections = d.connections()
	d.mu.Lock()
	defer d.mu.Unlock()
	info.Counters = d.tally()
	for _, l := range d.slots {
		if l == nil || l.path.Load() == nil || d.revoked {
			continue
		}
		info.Online = info.Online || !l.heard.IsZero()
		i := slices.IndexFunc(info.Links, func(k LinkInfo) bool { return k.Slot == l.number })
		if i >= 0 {
			info.Links[i].Active = true
		}
	}
}

// Running is true.
func (s *Server) Running() bool { return true }

// Open finds the hub of a state directory: the running one, or else its store.
func Open(state string) (Owner, error) {
	socket, err := dialCommands(filepath.Join(state, SocketName))
	if err == nil {
		return socket, nil
	}
	if _, err := os.Stat(filepath.Join(state, StoreName)); err != nil {
		return nil, noHub(state, err)
	}
	r, err := openRegistry(state)
	switch {
	case errors.Is(err, errLocked):
		return nil, errors.New("the hub of " + state + " is just starting or stopping: try again in a moment")
	case err != nil:
		return nil, err
	}
	return &closedHub{r}, nil
}

func noHub(state string, err error) error {
	if errors.Is(err, os.ErrPermission) {
		return errors.New(state + " belongs to another user: run this command as the user of the hub")
	}
	return errors.New("there is no hub in " + state + ": run this as the user who runs the hub, or say --state; tandem-hub run starts one")
}

// A closedHub is a hub that does not run: its owner changes what it will find when it starts.
type closedHub struct{ registry *registry }

// Invite opens an invite, which is good once the hub runs.
func (h *closedHub) Invite(o InviteOptions) (invite.Code, error) {
	c, _, err := h.registry.invite(o, time.Now())
	return c, err
}

// Devices lists devices and open invites.
func (h *closedHub) Devices() (Listing, error) { return h.registry.list(time.Now()), nil }

// Revoke has the hub not accept a device, or whoever has an invite, when it runs.
func (h *closedHub) Revoke(name string) error {
	_, err := h.registry.revoke(name, time.Now())
	return err
}

// Running is false.
func (h *closedHub) Running() bool { return false }

// Close closes the store.
func (h *closedHub) Close() error { return h.registry.close() }

var _, _ Owner = (*Server)(nil), (*closedHub)(nil)
