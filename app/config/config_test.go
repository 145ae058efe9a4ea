package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"tandem/app/invite"
	"tandem/tunnel/carrier"
)

func folder(t *testing.T) Folder { return Folder(filepath.Join(t.TempDir(), "state")) }

func membership() Membership {
	m := Membership{
		Hub: carrier.NewKey().Public(), HubName: "home", Endpoints: []string{"home.example:51820"}, Name: "laptop", Device: 3,
	}
	for i := range m.Slots {
		m.Slots[i].Key = carrier.NewKey()
	}
	return m
}

func TestNothingIsMadeByReading(t *testing.T) {
	f := folder(t)
	if _, err := f.Membership(); !errors.Is(err, ErrNotJoined) || !strings.Contains(err.Error(), string(f)) {
		t.Errorf("membership: %v, want ErrNotJoined", err)
	}
	s, err := f.Settings()
	if err != nil || !reflect.DeepEqual(s, NewSettings()) {
		t.Errorf("settings %+v, %v, want the defaults", s, err)
	}
	if _, err := os.Stat(string(f)); !os.IsNotExist(err) {
		t.Errorf("the folder was made: %v", err)
	}
}

func TestSavedComesBack(t *testing.T) {
	f := folder(t)
	m := membership()
	m.Take("wlan", func(int) bool { return false }, time.Now())
	if err := f.SaveMembership(m); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Membership(); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("membership %+v, %v, want %+v", got, err, m)
	}
	s := NewSettings()
	s.Down, s.Scheduler, s.Establish, s.Inactivity = true, "cost", "ips+sim", Inactivity{2 * time.Hour, true}
	s.Privacy, s.FastOpen, s.CostV, s.CostRate, s.Address = "strict", false, 640, 1e6, "fixed"
	s.Links["dongle"] = Link{
		Name: "usb0", On: false, Role: Backup, LimitUp: 10e6, LimitDown: 5e6, Cap: 20e9, ResetDay: 28, Price: 0.5,
		Private: true, Deny: "10.0.0.0/8,fd00::/8", Address: "non-persistent",
	}
	if err := f.SaveSettings(s); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Settings(); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("settings %+v, %v, want %+v", got, err, s)
	}
	for name, want := range map[string]os.FileMode{"": 0o700, membershipFile: 0o600, settingsFile: 0o600} {
		if info, err := os.Stat(filepath.Join(string(f), name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%q has mode %v, %v, want %v", name, info.Mode(), err, want)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(string(f), ".*")); len(left) > 0 {
		t.Errorf("drafts are left: %q", left)
	}
}

func TestWrongFileIsNamedAndKept(t *testing.T) {
	for _, c := range []struct{ what, text, want string }{
		{"unknown name", "{\n \"down\": true,\n \"upp\": 1\n}", `:3: "upp" is not known here`},
		{"wrong case", "{\n \"Down\": true\n}", `:2: "Down" is not known here`},
		{"wrong type", "{\n\n\"down\": 1}", ":3: number where true or false belongs"},
		{"list for object", "{\"links\":\n[]}", ":2: [ where an object belongs"},
		{"unknown name within", "{\"links\": {\n\"a\": {\n\"rule\": \"backup\"}}}", `:3: a: "rule" is not known here`},
		{"wrong role", "{\"links\": {\"a\": {\n\"role\": \"first\",\n\"on\":true}}}", `:2: a: "first" is not a role`},
		{"wrong rate", "{\"links\": {\"a\": {\n\n\"limit_up\": \"fast\"}}}", `:3: a: "fast" is not a rate`},
		{"day no month has", "{\"links\": {\"a\": {\n\"reset_day\": 31\n}}}", ":3: a: reset_day: 31"},
		{"twice", "{\"down\": true,\n\"down\": false}", `:2: "down" stands here twice`},
		{"tail", "{}\n{}", ":2: something follows"},
		{"cut", "{\n\"down\": tr", ":2: the file ends too early"},
		{"cut within", "{\n\"links\": {\"a\": {", ":2: the file ends too early"},
		{"empty", "", ":1: the file ends too early"},
		{"no JSON", "{\n\"down\" yes}", ":2: expected colon"},
		{"null for list", "{\"links\":\nnull}", ":2: null where an object belongs"},
		{"no routes", "{\n\"routes\": \"10.0.0.0/33\"}", `:2: "10.0.0.0/33" is neither`},
		{"no scheduler", "{\n\"scheduler\": \"best\"}", `:2: "best" is not a scheduler`},
		{"no way to begin", "{\n\"establish\": \"fast\"}", `:2: "fast" is no way to begin connections`},
		{"no time", "{\n\n\"inactivity\": \"2\"}", `:3: "2" is not a time`},
		{"dear", "{\"links\": {\"a\": {\n\"price\": 1e9}}}", `:2: a: price: 1e+09 is more`},
		{"no profile", "{\n\"privacy\": \"paranoid\"}", `:2: "paranoid" is no profile of privacy`},
		{"no such V", "{\n\"cost_v\": -1}", ":2: -1 is not a number of octets"},
		{"no network", "{\"links\": {\"a\": {\n\"deny\": \"home\"}}}", `:2: a: "home" is not a network`},
		{"no promise", "{\"links\": {\"a\": {\n\"address\": \"eternal\"}}}", `:2: a: "eternal" is not what a network`},
		{"garbage", "\x00\x01", ":1: invalid character"},
	} {
		f := folder(t)
		os.Mkdir(string(f), 0o700)
		name := filepath.Join(string(f), settingsFile)
		os.WriteFile(name, []byte(c.text), 0o600)
		_, err := f.Settings()
		if err == nil || !strings.HasPrefix(err.Error(), name+c.want) {
			t.Errorf("%s: %v, want %s%s…", c.what, err, name, c.want)
		}
		if err := f.SaveSettings(NewSettings()); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: saved over it: %v", c.what, err)
		}
		if text, _ := os.ReadFile(name); string(text) != c.text {
			t.Errorf("%s: the file is now %q", c.what, text)
		}
	}
}

func TestMembershipIsValidated(t *testing.T) {
	for want, spoil := range map[string]func(*Membership){
		"hub: no key":              func(m *Membership) { m.Hub = carrier.Key{} },
		"endpoints: none":          func(m *Membership) { m.Endpoints = []string{} },
		`endpoints: "home" is not`: func(m *Membership) { m.Endpoints = []string{"home"} },
		"device: 0 is not":         func(m *Membership) { m.Device = 0 },
		"slots: number 7 has no":   func(m *Membership) { m.Slots[7].Key = carrier.Key{} },
	} {
		f, m := folder(t), membership()
		spoil(&m)
		os.Mkdir(string(f), 0o700)
		text, _ := encode(m)
		os.WriteFile(filepath.Join(string(f), membershipFile), text, 0o600)
		if _, err := f.Membership(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	f := folder(t)
	os.Mkdir(string(f), 0o700)
	name := filepath.Join(string(f), membershipFile)
	os.WriteFile(name, []byte("{\n\"hub\":\n\"short\"}"), 0o600)
	if _, err := f.Membership(); err == nil || !strings.Contains(err.Error(), name+":3: ") {
		t.Errorf("%v, want line 3", err)
	}
	os.WriteFile(name, []byte("{\"slots\": [\n]}"), 0o600)
	if _, err := f.Membership(); err == nil || !strings.Contains(err.Error(), "0 values where 8 belong") {
		t.Errorf("%v, want the count of slots", err)
	}
}

func TestOpenToOthersIsRefused(t *testing.T) {
	f := folder(t)
	if err := f.SaveMembership(membership()); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(string(f), membershipFile)
	os.Chmod(name, 0o640)
	if _, err := f.Membership(); err == nil || !strings.Contains(err.Error(), name+" is open to other users (0640)") {
		t.Errorf("a file that others read: %v", err)
	}
	os.Chmod(name, 0o600)
	os.Chmod(string(f), 0o750)
	if _, err := f.Membership(); err == nil || !strings.Contains(err.Error(), string(f)+" is open to other users (0750)") {
		t.Errorf("a folder that others enter: %v", err)
	}
}

func TestLinksTakeSlots(t *testing.T) {
	now := time.Unix(1e9, 0)
	m := membership()
	busy := map[int]bool{}
	take := func(link string) int {
		now = now.Add(time.Minute)
		slot, ok := m.Take(link, func(s int) bool { return busy[s] }, now)
		if !ok {
			return -1
		}
		return slot
	}
	names := "abcdefgh"
	for want, r := range names {
		if got := take(string(r)); got != want {
			t.Fatalf("link %c has slot %d, want the unused %d", r, got, want)
		}
	}
	if got := take("a"); got != 0 {
		t.Errorf("a comes back to %d, want 0", got)
	}
	if got := take("dongle"); got != 1 {
		t.Errorf("a new link takes %d, want 1, the least recently used", got)
	}
	busy[2], busy[3] = true, true
	if got := take("b"); got != 4 {
		t.Errorf("b, whose slot is another's, takes %d, want 4: 2 and 3 are busy", got)
	}
	for s := range invite.Slots {
		busy[s] = true
	}
	if got := take("x"); got != -1 {
		t.Errorf("a link takes busy slot %d", got)
	}
}

func TestPendingKeysStay(t *testing.T) {
	f := folder(t)
	first, err := f.Pending("one")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.SavePending(first); err != nil {
		t.Fatal(err)
	}
	if again, err := f.Pending("one"); err != nil || again != first {
		t.Errorf("the same invite has other keys (%v)", err)
	}
	other, err := f.Pending("two")
	if err != nil || other.Keys[0] == first.Keys[0] {
		t.Errorf("another invite has the same keys (%v)", err)
	}
	if err := errors.Join(f.DropPending(), f.DropPending()); err != nil {
		t.Error(err)
	}
	if again, _ := f.Pending("one"); again.Keys == first.Keys {
		t.Error("keys are known after they were dropped")
	}
}

func TestRoutes(t *testing.T) {
	got, err := ParseRoutes("203.0.113.9/24, 2001:db8::/32")
	want := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	if got, err := ParseRoutes("default"); err != nil || !reflect.DeepEqual(got, DefaultRoutes()) {
		t.Errorf("%v, %v, want everything", got, err)
	}
	for _, bad := range []string{"", "10.0.0.0", "default,10.0.0.0/8", "10.0.0.0/33"} {
		if got, err := ParseRoutes(bad); err == nil {
			t.Errorf("%q: %v, want an error", bad, got)
		}
	}
}

func TestAmounts(t *testing.T) {
	for text, want := range map[string]Rate{"10Mbit": 10e6, "10M": 10e6, "1.5Gbit": 15e8, "800k": 8e5, "800K": 8e5, "7bit": 7, "0": 0, "none": 0, "2 Mbit/s": 2e6} {
		got, err := ParseRate(text)
		if err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
		back, _ := got.MarshalText()
		if again, err := ParseRate(string(back)); err != nil || again != got {
			t.Errorf("%d is written %q", got, back)
		}
	}
	if got, err := ParseSize("20GB"); err != nil || got != 20e9 {
		t.Errorf("20GB: %d, %v", got, err)
	}
	if _, err := ParseSize("20"); err == nil || err.Error() != "20 what? say 20MB or 20GB" {
		t.Errorf("20: %v", err)
	}
	for _, bad := range []string{"", "7", "fast", "-1M", "1MM", "NaN", "1e30", "10Mbyte"} {
		if got, err := ParseRate(bad); err == nil {
			t.Errorf("%q: %d, want an error", bad, got)
		}
	}
}
