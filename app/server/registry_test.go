package server

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/app/invite"
	"tandem/tunnel/carrier"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func newRegistry(t *testing.T, dir string) *registry {
	t.Helper()
	r, err := openRegistry(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.close() })
	if err := r.setEndpoints([]string{"hub.example.net:8684"}, ""); err != nil {
		t.Fatal(err)
	}
	return r
}

// ask is a request of a device whose keys are made from a seed.
func ask(seed byte, name string) invite.Request {
	q := invite.Request{Version: invite.Version, Name: name}
	for i := range q.Keys {
		q.Keys[i] = carrier.Key{seed, byte(i + 1)}
	}
	return q
}

func mustInvite(t *testing.T, r *registry, o InviteOptions, now time.Time) invite.Code {
	t.Helper()
	c, _, err := r.invite(o, now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustEnrol(t *testing.T, r *registry, c invite.Code, q invite.Request, now time.Time) enrolment {
	t.Helper()
	e, err := r.enrol(c.Number, q, now)
	if err != nil || e.answer.Error != "" {
		t.Fatalf("%s, %v", e.answer.Error, err)
	}
	return e
}

func TestInviteBindsToTheFirstKeys(t *testing.T) {
	r := newRegistry(t, t.TempDir()+"/hub")
	c := mustInvite(t, r, InviteOptions{}, noon)
	if want := noon.Add(time.Hour); !c.Expires.Equal(want) {
		t.Errorf("it expires at %v, not %v", c.Expires, want)
	}
	first := mustEnrol(t, r, c, ask(1, "laptop"), noon)
	if first.joined == nil || first.joined.Number != 1 || first.answer.Name != "laptop" {
		t.Fatalf("first: %+v", first)
	}
	again := mustEnrol(t, r, c, ask(1, "laptop"), noon.Add(9*time.Minute))
	if again.joined != nil || !reflect.DeepEqual(again.answer, first.answer) {
		t.Errorf("the same keys again: %+v", again)
	}
	for range 2 {
		if e, _ := r.enrol(c.Number, ask(2, "thief"), noon); e.answer.Error != refusedUsed || e.joined != nil {
			t.Errorf("other keys: %+v", e)
		}
	}
	if l := r.list(noon); len(l.Devices) != 1 || l.Devices[0].Foreign != 2 || l.Invites[0].UsedBy != "laptop" {
		t.Errorf("listed as %+v", l)
	}
	late := noon.Add(repeatLife + time.Second)
	if e, _ := r.enrol(c.Number, ask(1, "laptop"), late); e.answer.Error != refusedOver {
		t.Errorf("the same keys after ten minutes: %+v", e)
	}
	gone, _, err := r.sweep(late)
	if err != nil || len(gone) != 1 || gone[0].Key != c.Key.Public() {
		t.Errorf("swept %+v, %v", gone, err)
	}
}

func TestWhoDoesNotJoin(t *testing.T) {
	r := newRegistry(t, t.TempDir()+"/hub")
	c := mustInvite(t, r, InviteOptions{Expires: time.Minute}, noon)
	other := mustInvite(t, r, InviteOptions{}, noon)
	mustEnrol(t, r, other, ask(9, "desk"), noon)
	old := ask(1, "old")
	old.Version++
	stolen := ask(1, "stolen")
	stolen.Keys[4] = ask(9, "").Keys[2]
	own := ask(1, "own")
	own.Keys[0] = c.Hub
	for _, x := range []struct {
		what   string
		number int
		q      invite.Request
		at     time.Time
		want   string
	}{
		{"an invite that is none", 7, ask(1, "a"), noon, refusedOver},
		{"too late", c.Number, ask(1, "a"), noon.Add(2 * time.Minute), refusedOver},
		{"another version", c.Number, old, noon, refusedVersion},
		{"a key of another device", c.Number, stolen, noon, refusedKnown},
		{"the hub's own key", c.Number, own, noon, refusedKnown},
	} {
		if e, err := r.enrol(x.number, x.q, x.at); err != nil || e.answer.Error != x.want || e.joined != nil {
			t.Errorf("%s: %+v, %v", x.what, e, err)
		}
	}
	mustEnrol(t, r, c, ask(1, "a"), noon.Add(time.Minute))
}

func TestInvitesAreFew(t *testing.T) {
	r := newRegistry(t, t.TempDir()+"/hub")
	seen := map[int]bool{}
	for range invite.InvitesMax {
		seen[mustInvite(t, r, InviteOptions{}, noon).Number] = true
	}
	if len(seen) != invite.InvitesMax {
		t.Errorf("%d numbers for %d invites", len(seen), invite.InvitesMax)
	}
	if _, _, err := r.invite(InviteOptions{}, noon.Add(time.Hour)); err == nil {
		t.Error("one more was made")
	}
	mustInvite(t, r, InviteOptions{}, noon.Add(time.Hour+time.Second))
}

func TestInvitesThatMakeNoSense(t *testing.T) {
	r := newRegistry(t, t.TempDir()+"/hub")
	mustEnrol(t, r, mustInvite(t, r, InviteOptions{Name: "laptop"}, noon), ask(1, "x"), noon)
	for what, o := range map[string]InviteOptions{
		"a name with blanks":       {Name: "my laptop"},
		"a long name":              {Name: strings.Repeat("a", nameMax+1)},
		"a name that is taken":     {Name: "laptop"},
		"replacing nobody knows":   {Replace: true},
		"expired before it begins": {Expires: -time.Second},
		"beyond what a code holds": {Expires: 200 * 365 * 24 * time.Hour},
		"a name like an option":    {Name: "--help"},
	} {
		if _, _, err := r.invite(o, noon); err == nil {
			t.Errorf("%s: an invite was made", what)
		}
	}
	if err := r.setEndpoints(nil, ""); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.invite(InviteOptions{}, noon); err == nil {
		t.Error("an invite without endpoints was made")
	}
}

func TestNamesAreOnes(t *testing.T) {
	r := newRegistry(t, t.TempDir()+"/hub")
	for i, c := range []struct{ says, want string }{
		{"laptop", "laptop"}, {"laptop", "laptop-2"}, {"laptop", "laptop-3"}, {"my phone\n", "my-phone"}, {"\x1b[2J", "2J"}, {"☃", "device"}, {"--all", "all"}, {".", "device-2"},
		{strings.Repeat("a", 60), strings.Repeat("a", nameMax)}, {strings.Repeat("a", 60), strings.Repeat("a", nameMax-2) + "-2"},
	} {
		e := mustEnrol(t, r, mustInvite(t, r, InviteOptions{}, noon), ask(byte(i+1), c.says), noon)
		if e.answer.Name != c.want {
			t.Errorf("%q is called %q, not %q", c.says, e.answer.Name, c.want)
		}
	}
}

func TestReplace(t *testing.T) {
	r := newRegistry(t, t.TempDir()+"/hub")
	mustEnrol(t, r, mustInvite(t, r, InviteOptions{Name: "laptop"}, noon), ask(1, ""), noon)
	c := mustInvite(t, r, InviteOptions{Name: "laptop", Replace: true, AllowLAN: true}, noon)
	if l := r.list(noon); l.Devices[0].Revoked != nil {
		t.Error("revoked before the new one joined")
	}
	e := mustEnrol(t, r, c, ask(2, ""), noon)
	if e.replaced == nil || e.replaced.Number != 1 || e.joined.Number != 2 || e.joined.Name != "laptop" || !e.joined.AllowLAN {
		t.Fatalf("%+v", e)
	}
	if _, err := r.revoke("laptop", noon); err != nil {
		t.Fatal(err)
	}
	for _, d := range r.list(noon).Devices {
		if d.Revoked == nil {
			t.Errorf("%+v is not revoked", d)
		}
	}
	if _, err := r.revoke("laptop", noon); err == nil || !strings.Contains(err.Error(), "revoked already") {
		t.Errorf("revoked twice: %v", err)
	}
}

// An open invite for a name is withdrawn with it, and one that was used is not.
func TestWithdraw(t *testing.T) {
	dir := t.TempDir() + "/hub"
	r := newRegistry(t, dir)
	used := mustInvite(t, r, InviteOptions{Name: "laptop"}, noon)
	mustEnrol(t, r, used, ask(1, ""), noon)
	first, second := mustInvite(t, r, InviteOptions{Name: "desk"}, noon), mustInvite(t, r, InviteOptions{Name: "desk"}, noon)
	anybody := mustInvite(t, r, InviteOptions{}, noon)
	gone, err := r.revoke("desk", noon)
	if err != nil || gone.device != nil || len(gone.invites) != 2 {
		t.Fatalf("%+v, %v", gone, err)
	}
	for i, c := range []invite.Code{first, second} {
		if e, _ := r.enrol(c.Number, ask(byte(2+i), ""), noon); e.answer.Error != refusedOver {
			t.Errorf("with a withdrawn code: %+v", e.answer)
		}
	}
	r.revoke("laptop", noon)
	for name, says := range map[string]string{"laptop": "already", "desk": "no device", "": "no device"} {
		if _, err := r.revoke(name, noon); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", name, err)
		}
	}
	l := r.list(noon)
	if len(l.Invites) != 2 || l.Invites[1].ID != "invite:3" {
		t.Fatalf("%+v", l.Invites)
	}
	if gone, err := r.revoke("invite:3", noon); err != nil || len(gone.invites) != 1 || gone.invites[0].Number != anybody.Number {
		t.Errorf("one without a name: %+v, %v", gone, err)
	}
	if _, err := r.revoke("invite:0", noon); err == nil {
		t.Error("an invite that was used is withdrawn")
	}
	if name := plainName(l.Invites[1].ID); name == l.Invites[1].ID {
		t.Errorf("a device can be called %q", name)
	}
}

// A code that leads to where the hub is no more is told from one that leads to an endpoint of it.
func TestStaleInvites(t *testing.T) {
	r := newRegistry(t, t.TempDir()+"/hub")
	mustInvite(t, r, InviteOptions{}, noon)
	for _, c := range []struct {
		endpoints []string
		stale     bool
	}{{[]string{"192.0.2.1:8684", "hub.example.net:8684"}, false}, {[]string{"hub.example.net:51820"}, true}} {
		if err := r.setEndpoints(c.endpoints, "a doubt"); err != nil {
			t.Fatal(err)
		}
		if l := r.list(noon); l.Invites[0].Stale != c.stale || l.Doubt != "a doubt" || !slices.Equal(l.Endpoints, c.endpoints) {
			t.Errorf("%+v", l)
		}
	}
}

func TestTombsGoOnce(t *testing.T) {
	r := newRegistry(t, t.TempDir()+"/hub")
	mustEnrol(t, r, mustInvite(t, r, InviteOptions{}, noon), ask(1, "laptop"), noon)
	r.revoke("laptop", noon)
	r.use(1, func(t *trafficRecord) { t.Received++ })
	if _, tombs, err := r.sweep(noon.Add(tombLife)); err != nil || len(tombs) != 0 {
		t.Errorf("%+v, %v", tombs, err)
	}
	if _, tombs, err := r.sweep(noon.Add(tombLife + time.Second)); err != nil || len(tombs) != 1 {
		t.Errorf("%+v, %v", tombs, err)
	}
	if err := r.flush(); err != nil || len(r.list(noon).Devices) != 0 {
		t.Errorf("left: %+v, %v", r.list(noon), err)
	}
	if e := mustEnrol(t, r, mustInvite(t, r, InviteOptions{}, noon), ask(1, "laptop"), noon); e.joined.Number != 1 {
		t.Errorf("its number was not free: %+v", e)
	}
}

// Whatever is on the disk at some instant, a kill -9 at that instant leaves: a copy made then is a hub
// that knows all it has answered.
func TestKilledAtAnyMoment(t *testing.T) {
	dir := t.TempDir()
	r := newRegistry(t, dir+"/hub")
	key := r.hub.Key
	for n := range 12 {
		c := mustInvite(t, r, InviteOptions{}, noon)
		mustEnrol(t, r, c, ask(byte(n+1), "laptop"), noon)
		r.use(n+1, func(t *trafficRecord) { t.Received, t.Seen = 7, noon })
		if n%2 == 0 {
			if err := r.flush(); err != nil {
				t.Fatal(err)
			}
		}
		octets, err := os.ReadFile(filepath.Join(dir, "hub", StoreName))
		if err != nil {
			t.Fatal(err)
		}
		corpse := filepath.Join(dir, "copy"+string(rune('a'+n)))
		os.Mkdir(corpse, 0o700)
		os.WriteFile(filepath.Join(corpse, StoreName), octets, 0o600)
		again := newRegistry(t, corpse)
		l := again.list(noon)
		if again.hub.Key != key || len(l.Devices) != n+1 || len(l.Invites) != n+1 {
			t.Fatalf("after %d joins there are %+v", n+1, l)
		}
		if e := mustEnrol(t, again, c, ask(byte(n+1), "laptop"), noon); e.answer.Device != n+1 {
			t.Errorf("the last to join was answered %+v", e.answer)
		}
		if n%2 == 0 && l.Devices[n].Received != 7 {
			t.Errorf("usage that was flushed is %d", l.Devices[n].Received)
		}
	}
}

func TestWhatIsKept(t *testing.T) {
	dir := t.TempDir() + "/hub"
	r := newRegistry(t, dir)
	mustEnrol(t, r, mustInvite(t, r, InviteOptions{Name: "laptop"}, noon), ask(1, ""), noon)
	at := netip.MustParseAddrPort("[2001:db8::7]:51820")
	r.use(1, func(t *trafficRecord) { t.Endpoints[3], t.Sent, t.Seen = at, 9, noon })
	before := r.picture()
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	if after := newRegistry(t, dir).picture(); !reflect.DeepEqual(after, before) {
		t.Errorf("kept\n%+v of\n%+v", after, before)
	}
}

func TestStoreIsRefused(t *testing.T) {
	whole := t.TempDir() + "/hub"
	r := newRegistry(t, whole)
	for n := range 20 {
		mustEnrol(t, r, mustInvite(t, r, InviteOptions{}, noon), ask(byte(n+1), "laptop"), noon)
	}
	r.close()
	octets, err := os.ReadFile(filepath.Join(whole, StoreName))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what   string
		octets []byte
		mode   os.FileMode
		dir    os.FileMode
		want   string
	}{
		{"cut short", octets[:len(octets)/2], 0o600, 0o700, "damaged"},
		{"cut to a page", octets[:4096], 0o600, 0o700, "damaged"},
		{"cut to a few octets", octets[:100], 0o600, 0o700, "damaged"},
		{"text", []byte(strings.Repeat("this is no store\n", 4000)), 0o600, 0o700, "damaged"},
		{"zeros where pages were", append(octets[:8192:8192], make([]byte, len(octets)-8192)...), 0o600, 0o700, "damaged"},
		{"readable by all", octets, 0o644, 0o700, "chmod 600"},
		{"in a directory for all", octets, 0o600, 0o755, "chmod 700"},
	} {
		dir := t.TempDir() + "/hub"
		os.Mkdir(dir, 0o700)
		path := filepath.Join(dir, StoreName)
		os.WriteFile(path, c.octets, 0o600)
		os.Chmod(path, c.mode)
		os.Chmod(dir, c.dir)
		_, err := openRegistry(dir)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", c.what, err)
		}
		if left, err := os.ReadFile(path); err != nil || !reflect.DeepEqual(left, c.octets) {
			t.Errorf("%s: it was not left as it was (%v)", c.what, err)
		}
	}
}

func TestStoreHasOneHub(t *testing.T) {
	dir := t.TempDir() + "/hub"
	newRegistry(t, dir)
	if _, err := openRegistry(dir); !errors.Is(err, errLocked) {
		t.Errorf("a second hub: %v", err)
	}
}

func TestStoreThatTakesNothing(t *testing.T) {
	r := newRegistry(t, t.TempDir()+"/hub")
	c := mustInvite(t, r, InviteOptions{}, noon)
	r.store.db.Close() // as good as a full disk
	e, err := r.enrol(c.Number, ask(1, "laptop"), noon)
	if err == nil || !strings.Contains(err.Error(), "cannot be written") || e.answer.Error != refusedStore {
		t.Errorf("%+v, %v", e, err)
	}
	if len(r.list(noon).Devices) != 0 {
		t.Error("a device that is not in the store has joined")
	}
	if _, _, err := r.invite(InviteOptions{}, noon); err == nil {
		t.Error("an invite that is not in the store was made")
	}
}
