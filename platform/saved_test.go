package platform

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const resolvBefore = "nameserver 192.168.1.1\nsearch home.example\n"

// before is a system with a strict link and a TUN that was just made.
func before() State {
	s := State{Things: []Thing{Resolv{resolvBefore}, Device{"tandem0", 1400, false}}}
	for _, dev := range []string{"all", "wlan0", "tandem0"} {
		s.Things = append(s.Things, Setting{setting(4, dev, "rp_filter"), "1"}, Setting{setting(6, dev, "disable_ipv6"), "0"})
	}
	slices.SortFunc(s.Things, compareThings)
	return s
}

var (
	strictLink = Link{Name: "wlan0", Index: 3, Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.1.5/24")}, Gateway4: netip.MustParseAddr("192.168.1.1")}
	capturing  = Routing{Tun: "tandem0", Addrs: []netip.Prefix{netip.MustParsePrefix("198.18.0.2/32")}, LAN: true, Links: []string{"wlan0"},
		Capture: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, DNS: []netip.Addr{netip.MustParseAddr("198.18.0.1")}}
)

// TestKilled kills the process after each change, the record being written before the first: the next one puts all back, whether
// it was killed while it did or undid.
func TestKilled(t *testing.T) {
	links := []Link{strictLink}
	up := Plan(before(), capturing, links)
	done := before()
	for _, c := range up {
		done.Apply(c)
	}
	down := Plan(done, Routing{}, links)
	for _, c := range []struct {
		what    string
		start   State
		changes []Change
	}{{"doing", before(), up}, {"undoing", done, down}} {
		end := State{Things: slices.Clone(c.start.Things), Saved: c.start.Saved}
		for _, change := range c.changes {
			end.Apply(change)
		}
		recorded := c.start.Saved.both(end.Saved)
		for n := range len(c.changes) + 1 {
			left := State{Things: slices.Clone(c.start.Things)}
			for _, change := range c.changes[:n] {
				left.Apply(change)
			}
			left.Saved = recorded.Prune(left.Things)
			for _, change := range Plan(left, Routing{}, links) {
				left.Apply(change)
			}
			if !reflect.DeepEqual(left.Things, before().Things) {
				t.Errorf("killed after %d of %d, %s: left is\n%v\nwant\n%v", n, len(c.changes), c.what, left.Things, before().Things)
			}
			if !left.Saved.empty() {
				t.Errorf("killed after %d of %d, %s: still remembers %+v", n, len(c.changes), c.what, left.Saved)
			}
		}
	}
}

// TestTorn: the process is killed between the two steps in which resolv.conf is written, in either direction and either size.
func TestTorn(t *testing.T) {
	for _, was := range []string{"", "nameserver 192.168.1.1\n", strings.Repeat("nameserver 192.168.1.1 # and much to say\n", 20)} {
		have := State{Things: []Thing{Resolv{was}}}
		c := Plan(have, Routing{DNS: capturing.DNS}, nil)[0]
		have.Apply(c)
		ours := c.To.(Resolv).Text
		for what, torn := range map[string]string{"writing ours": over(was, ours), "writing theirs": over(ours, was)} {
			left := State{Things: []Thing{Resolv{torn}}}
			left.Saved = have.Saved.Prune(left.Things)
			for _, c := range Plan(left, Routing{}, nil) {
				left.Apply(c)
			}
			if got := left.Things[0].(Resolv).Text; got != was {
				t.Errorf("%s over %d octets: back comes %q, want %q", what, len(was), got, was)
			}
		}
	}
}

// over is a file of one text after another was written over it and before it is cut.
func over(old, text string) string {
	if len(old) > len(text) {
		return text + old[len(text):]
	}
	return text
}

func TestRecord(t *testing.T) {
	r := record{filepath.Join(t.TempDir(), "a", "state")}
	if s, err := r.load(); err != nil || !s.empty() {
		t.Fatalf("at first: %+v, %v", s, err)
	}
	was := "1"
	want := Saved{Tun: "tandem0", Settings: map[string]Original{"net/ipv4/conf/wlan0/rp_filter": {&was, "2"}}, Resolv: &Original{nil, "text"}}
	for range 2 {
		if err := r.store(want); err != nil {
			t.Fatal(err)
		}
		if got, err := r.load(); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("back comes %+v, %v, want %+v", got, err, want)
		}
	}
	for name, mode := range map[string]os.FileMode{r.folder: 0o700, r.name(): 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, want %v", name, info.Mode(), mode)
		}
	}
	if err := r.store(Saved{}); err != nil {
		t.Fatal(err)
	}
	if err := r.store(Saved{}); err != nil {
		t.Errorf("nothing, twice: %v", err)
	}
	if files, _ := os.ReadDir(r.folder); len(files) > 0 {
		t.Errorf("left are %v", files)
	}
	if s, err := (record{}).load(); err != nil || !s.empty() || (record{}).store(want) != nil {
		t.Errorf("without a folder: %+v, %v", s, err)
	}
}

// TestRecordDamaged: a damaged record is named and kept.
func TestRecordDamaged(t *testing.T) {
	r := record{t.TempDir()}
	if err := os.WriteFile(r.name(), []byte(`{"tun": `), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.load(); err == nil || !strings.Contains(err.Error(), r.name()) {
		t.Errorf("a damaged record: %v", err)
	}
	if text, _ := os.ReadFile(r.name()); string(text) != `{"tun": ` {
		t.Errorf("it became %q", text)
	}
}

func TestChangeString(t *testing.T) {
	rule := Rule{Priority: 7344, V6: true, To: netip.MustParsePrefix("fd00::/8"), Table: tableMain}
	for want, c := range map[string]Change{
		"+ rule IPv6 7344: to fd00::/8 table main":      {To: rule},
		"- rule IPv6 7344: to fd00::/8 table main":      {From: rule},
		"~ device tandem0 mtu 1400: down → up":          {From: Device{"tandem0", 1400, false}, To: Device{"tandem0", 1400, true}},
		"~ resolv.conf: nothing → 198.18.0.1":           {From: Resolv{"# none\n"}, To: Resolv{"nameserver 198.18.0.1\n"}},
		"~ setting net/ipv4/conf/eth0/rp_filter: 1 → 2": {From: Setting{"net/ipv4/conf/eth0/rp_filter", "1"}, To: Setting{"net/ipv4/conf/eth0/rp_filter", "2"}},
	} {
		if got := c.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if c.Inverse().Inverse() != c {
			t.Errorf("%q: the inverse of its inverse is another", want)
		}
	}
}

// A server on this machine is not asked through a pinned socket; those behind it are.
func TestNameserversElsewhere(t *testing.T) {
	stub, upstream := Resolv{"nameserver 127.0.0.53\nnameserver ::1\n"}, Resolv{"nameserver 192.168.1.1\nnameserver fe80::1%wlan0\n"}
	for _, c := range []struct {
		texts []Resolv
		want  int
	}{{[]Resolv{stub, upstream}, 2}, {[]Resolv{upstream, stub}, 2}, {[]Resolv{stub, {}}, 0}} {
		if got := elsewhere(c.texts...); len(got) != c.want {
			t.Errorf("%v: %v", c.texts, got)
		}
	}
}
