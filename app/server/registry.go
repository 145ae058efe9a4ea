package server

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"tandem/app/invite"
	"tandem/tunnel/carrier"
)

// How long things are kept.
const (
	invitesLife    = time.Hour // of a code that nobody used, unless said
	invitesLifeMax = 366 * 24 * time.Hour
	repeatLife     = 10 * time.Minute    // of a code that was used: its device may not have heard the answer
	tombLife       = 30 * 24 * time.Hour // of what a revoked device is told, when it comes back

	// endpointLife is how old an endpoint may be for the hub to call there when it starts: no NAT keeps
	// a mapping for longer while nothing passes.
	endpointLife = 24 * time.Hour
)

// A hubRecord is what the store holds of the hub itself.
type hubRecord struct {
	Key       carrier.Key // private
	Name      string
	Endpoints []string // where devices were last told to find it
	Doubt     string   // why they may not, for who makes an invite; "": nothing speaks against it
}

// A deviceRecord is a device that joined.
type deviceRecord struct {
	Number   int
	Name     string
	Keys     [invite.Slots]carrier.Key // public, of its slots
	AllowLAN bool
	Joined   time.Time
	Revoked  time.Time // zero: it is not
	Foreign  int       // attempts of others to join with its invite
}

func (d *deviceRecord) revoked() bool { return !d.Revoked.IsZero() }

// A trafficRecord is what changes about a device as it is used.
type trafficRecord struct {
	Endpoints      [invite.Slots]netip.AddrPort // where its slots were last
	Seen           time.Time
	Received, Sent uint64 // octets on the wire since it joined
}

// An inviteRecord is a code that is open, or was used less than repeatLife ago.
type inviteRecord struct {
	Number    int
	Key       carrier.Key // public
	Name      string      // of the device; "": as it calls itself
	AllowLAN  bool
	Replace   bool
	Expires   time.Time
	Endpoints []string  // in the code
	Joined    time.Time // zero: nobody used it
	Device    int       // who did
	Answer    invite.Answer
}

// id is what an invite goes by: its device's name, or when it has none one that no device can have.
func (i *inviteRecord) id() string { return cmp.Or(i.Name, fmt.Sprintf("invite:%d", i.Number)) }

// over reports whether nobody gets an answer with the code any more.
func (i *inviteRecord) over(now time.Time) bool {
	if i.Joined.IsZero() {
		return now.After(i.Expires)
	}
	return now.After(i.Joined.Add(repeatLife))
}

// A registry is the devices and invites of a hub, and the rules by which they change. Whatever it
// answers is in the store before.
type registry struct {
	store *store

	mu      sync.Mutex
	hub     hubRecord
	devices map[int]*deviceRecord
	traffic map[int]*trafficRecord
	invites map[int]*inviteRecord
	dirty   map[int]bool // devices whose traffic, or count of strangers, is not in the store
}

// openRegistry reads the store of a state directory. A new one gets a key of its own.
func openRegistry(dir string) (*registry, error) {
	s, err := openStore(dir)
	if err != nil {
		return nil, err
	}
	r := &registry{
		store:   s,
		devices: map[int]*deviceRecord{}, traffic: map[int]*trafficRecord{}, invites: map[int]*inviteRecord{},
		dirty: map[int]bool{},
	}
	if err := r.load(); err != nil {
		s.close()
		return nil, err
	}
	return r, nil
}

func (r *registry) load() error {
	err := errors.Join(
		each(r.store, bucketHub, func(_ int, h hubRecord) { r.hub = h }),
		each(r.store, bucketDevices, func(n int, d deviceRecord) { r.devices[n] = &d }),
		each(r.store, bucketTraffic, func(n int, t trafficRecord) { r.traffic[n] = &t }),
		each(r.store, bucketInvites, func(n int, i inviteRecord) { r.invites[n] = &i }),
	)
	if err != nil {
		return err
	}
	for n := range r.devices {
		if r.traffic[n] == nil {
			r.traffic[n] = &trafficRecord{}
		}
	}
	if r.hub.Key != (carrier.Key{}) {
		return nil
	}
	r.hub.Key = carrier.NewKey()
	r.hub.Name, _ = os.Hostname()
	r.hub.Name = cmp.Or(plainName(r.hub.Name), "hub")
	return r.store.apply(change{bucketHub, 0, r.hub})
}

// close writes what is not in the store yet, and closes it.
func (r *registry) close() error { return errors.Join(r.flush(), r.store.close()) }

// setEndpoints says where devices are told to find the hub from now on, and why they may not.
func (r *registry) setEndpoints(endpoints []string, doubt string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Equal(r.hub.Endpoints, endpoints) && r.hub.Doubt == doubt {
		return nil
	}
	r.hub.Endpoints, r.hub.Doubt = endpoints, doubt
	return r.store.apply(change{bucketHub, 0, r.hub})
}

// InviteOptions say what an invite is for. The zero InviteOptions let one device join within an hour
// under the name that it gives itself.
type InviteOptions struct {
	Name     string        `json:"name,omitempty"`
	Expires  time.Duration `json:"expires,omitempty"` // from now; 0: an hour
	AllowLAN bool          `json:"allow_lan,omitempty"`
	Replace  bool          `json:"replace,omitempty"` // revoke the device that has Name once the new one joins
}

// invite opens an invite.
func (r *registry) invite(o InviteOptions, now time.Time) (c invite.Code, i inviteRecord, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case o.Name != plainName(o.Name):
		return c, i, fmt.Errorf("%q is no name for a device: use letters, digits, - _ and . only, at most %d", o.Name, nameMax)
	case o.Replace && o.Name == "":
		return c, i, errors.New("which device to replace is not said: add --name NAME")
	case o.Expires < 0:
		return c, i, errors.New("an invite cannot have expired before it is made: --expires must be positive")
	case o.Expires > invitesLifeMax:
		return c, i, errors.New("an invite cannot be good for more than a year: choose a shorter --expires")
	case o.Name != "" && !o.Replace && r.named(o.Name) != nil:
		return c, i, fmt.Errorf("a device called %s has joined already: add --replace, or choose another name", o.Name)
	case len(r.hub.Endpoints) == 0:
		return c, i, errors.New("nobody knows yet where this hub can be found: run tandem-hub run --endpoint HOST:PORT first")
	}
	number := 0
	for r.invites[number] != nil && !r.invites[number].over(now) {
		number++
	}
	if number == invite.InvitesMax {
		return c, i, fmt.Errorf("%d invites are open already, and no more can be: wait until one is used or expires", number)
	}
	key := carrier.NewKey()
	i = inviteRecord{
		Number: number, Key: key.Public(), Name: o.Name, AllowLAN: o.AllowLAN, Replace: o.Replace,
		Expires: now.Add(cmp.Or(o.Expires, invitesLife)).Truncate(time.Second), Endpoints: r.hub.Endpoints,
	}
	c = invite.Code{
		Hub: r.hub.Key.Public(), Endpoints: r.hub.Endpoints, Key: key, Number: number, Expires: i.Expires,
	}
	if err := r.store.apply(change{bucketInvites, number, i}); err != nil {
		return c, i, err
	}
	kept := i
	r.invites[number] = &kept
	return c, i, nil
}

// Why a device does not join, for the person who wants it to.
const (
	refusedOver    = "This invite code has expired: make a new one at the hub with tandem-hub invite."
	refusedUsed    = "This invite code was used by another device: make a new one at the hub with tandem-hub invite."
	refusedKnown   = "This device has joined this hub before: leave it first with tandem leave."
	refusedVersion = "This device speaks another version of tandem than the hub: update the older one."
	refusedFull    = "This hub has as many devices as it can have: revoke one at the hub with tandem-hub revoke NAME."
	refusedStore   = "The hub could not write down this device, see its log: its disk may be full."
)

// An enrolment is what came of a request to join.
type enrolment struct {
	answer   invite.Answer
	joined   *deviceRecord // nil: nobody new
	replaced *deviceRecord // nil: nobody
}

// enrol lets a device join with an invite. The error is the store's, and the device was told of it.
func (r *registry) enrol(number int, q invite.Request, now time.Time) (e enrolment, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	no := func(why string) (enrolment, error) { return enrolment{answer: invite.Answer{Error: why}}, nil }
	i := r.invites[number]
	switch {
	case i == nil || i.over(now):
		return no(refusedOver)
	case q.Version != invite.Version:
		return no(refusedVersion)
	case !i.Joined.IsZero():
		if d := r.devices[i.Device]; d != nil && d.Keys != q.Keys {
			d.Foreign++
			r.dirty[d.Number] = true
			return no(refusedUsed)
		}
		return enrolment{answer: i.Answer}, nil
	case r.knows(q.Keys):
		return no(refusedKnown)
	}
	d := &deviceRecord{Keys: q.Keys, AllowLAN: i.AllowLAN, Joined: now}
	for d.Number = 1; r.devices[d.Number] != nil; d.Number++ {
	}
	if d.Number > invite.DevicesMax {
		return no(refusedFull)
	}
	var changes []change
	if old := r.named(i.Name); i.Replace && old != nil {
		gone := *old
		gone.Revoked = now
		e.replaced = &gone
		changes = append(changes, change{bucketDevices, gone.Number, gone})
		d.Name = i.Name
	} else {
		d.Name = r.freeName(cmp.Or(i.Name, plainName(q.Name), "device"))
	}
	used := *i
	used.Joined, used.Device = now, d.Number
	used.Answer = invite.Answer{Name: d.Name, Device: d.Number, Hub: r.hub.Name, Endpoints: r.hub.Endpoints}
	changes = append(changes, change{bucketDevices, d.Number, *d}, change{bucketInvites, number, used})
	if err := r.store.apply(changes...); err != nil {
		return enrolment{answer: invite.Answer{Error: refusedStore}}, err
	}
	if e.replaced != nil {
		*r.devices[e.replaced.Number] = *e.replaced
	}
	joined := *d
	r.devices[d.Number], r.traffic[d.Number], r.invites[number] = d, &trafficRecord{}, &used
	e.joined, e.answer = &joined, used.Answer
	return e, nil
}

// sweep removes what is over, and returns it.
func (r *registry) sweep(now time.Time) (invites []inviteRecord, tombs []deviceRecord, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var changes []change
	for n, i := range r.invites {
		if i.over(now) {
			invites = append(invites, *i)
			changes = append(changes, change{bucketInvites, n, nil})
		}
	}
	for n, d := range r.devices {
		if d.revoked() && now.After(d.Revoked.Add(tombLife)) {
			tombs = append(tombs, *d)
			changes = append(changes, change{bucketDevices, n, nil}, change{bucketTraffic, n, nil})
		}
	}
	if err := r.store.apply(changes...); err != nil {
		return nil, nil, err
	}
	for _, i := range invites {
		delete(r.invites, i.Number)
	}
	for _, d := range tombs {
		delete(r.devices, d.Number)
		delete(r.traffic, d.Number)
		delete(r.dirty, d.Number)
	}
	return invites, tombs, nil
}

// use notes what a device did. It is in the store after the next flush.
func (r *registry) use(device int, f func(*trafficRecord)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t := r.traffic[device]; t != nil {
		was := *t
		f(t)
		if *t != was {
			r.dirty[device] = true
		}
	}
}

// flush writes what was noted since the last one, in one transaction.
func (r *registry) flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var changes []change
	for n := range r.dirty {
		changes = append(changes, change{bucketDevices, n, *r.devices[n]}, change{bucketTraffic, n, *r.traffic[n]})
	}
	if err := r.store.apply(changes...); err != nil {
		return err
	}
	clear(r.dirty)
	return nil
}

// A pictured registry is a copy of its records, in the order of their numbers.
type picture struct {
	hub     hubRecord
	devices []deviceRecord
	traffic []trafficRecord // of the device at the same index
	invites []inviteRecord
}

func (r *registry) picture() (p picture) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.hub = r.hub
	for _, n := range slices.Sorted(maps.Keys(r.devices)) {
		p.devices = append(p.devices, *r.devices[n])
		p.traffic = append(p.traffic, *r.traffic[n])
	}
	for _, n := range slices.Sorted(maps.Keys(r.invites)) {
		p.invites = append(p.invites, *r.invites[n])
	}
	return p
}

// named returns the device of that name, and nil when there is none that is not revoked.
func (r *registry) named(name string) *deviceRecord {
	for _, d := range r.devices {
		if d.Name == name && !d.revoked() {
			return d
		}
	}
	return nil
}

// knows reports whether a slot of some device has one of the keys: it could be told from no other.
func (r *registry) knows(keys [invite.Slots]carrier.Key) bool {
	for _, d := range r.devices {
		for _, k := range d.Keys {
			if slices.Contains(keys[:], k) {
				return true
			}
		}
	}
	for _, i := range r.invites {
		if slices.Contains(keys[:], i.Key) {
			return true
		}
	}
	return slices.Contains(keys[:], r.hub.Key.Public())
}

// freeName returns name, or with a number behind it if a device has that already.
func (r *registry) freeName(name string) string {
	free := name
	for n := 2; r.named(free) != nil; n++ {
		tail := fmt.Sprintf("-%d", n)
		free = name[:min(len(name), nameMax-len(tail))] + tail
	}
	return free
}

const nameMax = 48 // letters

// plainName makes a name that can be typed and printed anywhere out of what a device calls itself.
func plainName(s string) string {
	s = strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.ContainsRune("-_.", c):
			return c
		case c == ' ':
			return '-'
		}
		return -1
	}, s)
	s = strings.TrimLeft(s, "-.") // a command takes it for an option, a shell may hide it
	return s[:min(len(s), nameMax)]
}
