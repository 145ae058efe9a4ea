package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/app/client"
	"tandem/app/command"
	"tandem/app/config"
	"tandem/app/control"
	"tandem/app/invite"
	"tandem/app/tally"
	"tandem/platform"
	"tandem/platform/platformtest"
	"tandem/tunnel/carrier"
)

// A terminal is where commands are typed, with a state of its own.
type terminal struct {
	t     *testing.T
	state string
}

func newTerminal(t *testing.T) *terminal { return &terminal{t, filepath.Join(t.TempDir(), "state")} }

// types runs a command, and wants its exit code, -1 for any, and a part of what it says.
func (m *terminal) types(code int, part string, args ...string) string {
	m.t.Helper()
	var out, diagnosis bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	got := command.Run(ctx, commands(), append([]string{"--state", m.state}, args...), &out, &diagnosis)
	if said := out.String() + diagnosis.String(); got != code && code >= 0 || !strings.Contains(said, part) {
		m.t.Errorf("%q: exit code %d, said %q; want %d and %q", args, got, said, code, part)
	}
	return out.String() + diagnosis.String()
}

func TestMisuse(t *testing.T) {
	m := newTerminal(t)
	for _, c := range []struct{ line, want string }{
		{"", "which command?"},
		{"fly", `there is no command "fly"`},
		{"status --colour", "unknown flag: --colour"},
		{"status now", "takes options only"},
		{"join", "one code is wanted"},
		{"join a b", "one code is wanted"},
		{"run --routes 10.0.0.0/33", `"10.0.0.0/33" is neither default nor a network`},
		{"run --scheduler best", `"best" is not a scheduler`},
		{"run --establish quickly", `--establish: "quickly" is no way to begin connections: auto, classic`},
		{"run --inactivity 2", `--inactivity: "2" is not a time such as 90s`},
		{"run --inactivity 2h,beg", `--inactivity: "beg" is neither announce nor request`},
		{"run --inactivity 48h", "up to a day"},
		{"set", "what is to change?"},
		{"set sim", "takes options only"},
		{"set --establish quickly", `"quickly" is no way`},
		{"set --scheduler best --inactivity 2", "is not a time"},
		{"set --cost-v many", `--cost-v: "many" is not a number`},
		{"set --cost-v -1", "--cost-v: -1 is not a number of octets up to 1048576"},
		{"set --cost-rate 5", "--cost-rate: 5 what?"},
		{"set --privacy paranoid", `--privacy: "paranoid" is no profile of privacy: standard or strict`},
		{"set --fast-open yes", `--fast-open: "yes" is neither on nor off`},
		{"run --address eternal", `--address: "eternal" is not what a network promises`},
		{"link wlan0 --private maybe", `--private: "maybe" is neither on nor off`},
		{"link wlan0 --deny home", `--deny: "home" is not a network such as`},
		{"link wlan0 --address eternal", "--address: "},
		{"check --hub http://192.0.2.1:80", "convert or socks5, not"},
		{"link wlan0 --price 1e9", "which is the most"},
		{"run --socks 1080", "--socks wants ADDR:PORT"},
		{"run --socks 127.0.0.1:1080 --routes default", "--socks takes the place of --routes"},
		{"run --hub socks5://192.0.2.1", "at HOST:PORT"},
		{"run --hub http://192.0.2.1:80", "convert or socks5, not"},
		{"run --hub 192.0.2.1:1080", "a proxy is convert://HOST:PORT, socks5://"},
		{"set --inactivity-bounds 1h", `--inactivity-bounds: "1h" is neither fixed nor two times`},
		{"run --inactivity-bounds 2h,1h", "--inactivity-bounds: a connection may be idle for"},
		{"set --implicit-esim perhaps", `--implicit-esim: "perhaps" is neither on nor off`},
		{"run --prototype both", `--prototype: "both" is no meaning`},
		{"link", "a link's name"},
		{"link wlan0", "what is to change?"},
		{"link wlan0 first", `"first" is none of on, off`},
		{"link wlan0 --limit-up fast", `--limit-up: "fast" is not a rate`},
		{"link wlan0 --cap much", `"much" is not a size`},
		{"link wlan0 --cap 20", "--cap: 20 what? say 20MB or 20GB"},
		{"link wlan0 --limit-down 20", "20 what? say 20Mbit"},
		{"link wlan0 --reset-day x", `tandem: invalid argument "x" for "--reset-day"` + "\nSee tandem link --help.\n"},
		{"connections first", `"first" is not the number of a connection: tandem connections lists them`},
		{"link wlan0 --reset-day 31", "--reset-day: 31 is not a day"},
		{"link wlan0 --price NaN", "not negative"},
		{"run --socks 127.0.0.1:99999", "--socks wants ADDR:PORT"},
		{"run --links wlan0,,wwan0 --socks 127.0.0.1:0", "--links wants names"},
		{"demo --seconds -1", "--seconds is more than 0"},
		{"demo --seconds 0", "--seconds is more than 0"},
		{"demo --seconds NaN", "--seconds is more than 0"},
		{"demo --seconds Inf", "--seconds is more than 0"},
		{"demo --seconds abc", `invalid argument "abc" for "--seconds"` + "\nSee tandem demo --help.\n"},
		{"check --socks 1080", "--socks wants ADDR:PORT"},
	} {
		m.types(2, c.want, strings.Fields(c.line)...)
	}
}

func TestFailures(t *testing.T) {
	m := newTerminal(t)
	for _, verb := range []string{"up", "down", "status", "links", "connections", "flows", "link wlan0 off", "set --establish sim"} {
		// Not the socket of the state, for want of which the system's daemon is asked.
		m.types(1, "no tandem daemon is running", strings.Fields("--socket "+m.state+".sock "+verb)...)
	}
	m.types(1, "this device belongs to no hub", "leave")
	m.types(1, "is not an invite code of tandem", "join", "hello")
	stale := invite.Code{Hub: carrier.NewKey().Public(), Key: carrier.NewKey(), Endpoints: []string{"192.0.2.1:8684"}, Expires: time.Now().Add(-time.Hour)}
	m.types(1, "has expired", "join", stale.String())
	m.types(1, "a proxy at 0.0.0.0:0, which is not loopback, needs a password", "run", "--socks", "0.0.0.0:0")
	m.types(1, "belongs to no hub (nothing says so in "+m.state+")", "check")
	if said := m.types(1, "Programs that use the proxy at 127.0.0.1:0", "check", "--socks", "127.0.0.1:0"); strings.Contains(said, "/dev/net/tun") {
		t.Errorf("a proxy needs no TUN: %q", said)
	}
	m.types(1, "needs a password", "check", "--socks", "0.0.0.0:0")
	proxied := m.types(-1, "A proxy of another make takes its place: socks5 at 192.0.2.1:1080.", "check", "--hub", "socks5://192.0.2.1:1080")
	if !strings.Contains(proxied, "raw packets") || !strings.Contains(proxied, "ports") || strings.Contains(proxied, "resolver") || strings.Contains(proxied, "belongs to no hub") {
		t.Errorf("check with a proxy of another make: %q", proxied)
	}
	m.types(1, "name another with --state", "--state", "/proc/none/state", "run", "--socks", "127.0.0.1:0")
	if exists(m.state) && len(list(m.state)) > 0 {
		t.Errorf("failures left %q", list(m.state))
	}
}

// TestCheckTellsTheDead: the socket of a daemon that was killed is not taken for one that runs.
func TestCheckTellsTheDead(t *testing.T) {
	m := newTerminal(t)
	os.Mkdir(m.state, 0o700)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(m.state, "tandem.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	m.types(1, "None is running", "check")
}

func list(folder string) (names []string) {
	entries, _ := os.ReadDir(folder)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestCorruptSettings(t *testing.T) {
	m := newTerminal(t)
	os.Mkdir(m.state, 0o700)
	name := filepath.Join(m.state, "settings.json")
	os.WriteFile(name, []byte("{\n\"dwon\": true\n}"), 0o600)
	m.types(1, name+`:2: "dwon" is not known here`, "run")
	m.types(1, name+`:2: "dwon" is not known here`, "check")
}

// TestVerbs types at a daemon that has joined nothing.
func TestVerbs(t *testing.T) {
	m := newTerminal(t)
	host := platformtest.New(platform.Link{Name: "wlan0", Kind: "wifi", ID: "a", Index: 2, MTU: 1500, Usable: true},
		platform.Link{Name: "docker0", Kind: "other", ID: "b", Index: 3, MTU: 1500, Reason: "It is a bridge of containers."})
	o := options{state: m.state}
	d, err := client.New(client.Config{State: o.folder(), Host: host, Socket: o.listenAt()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := d.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer running.Wait()
	defer cancel()
	if err := d.Wait(ctx, func(s control.State) bool { return len(s.Links) == 2 }); err != nil {
		t.Fatal(err)
	}
	var s control.State
	if err := json.Unmarshal([]byte(m.types(0, "", "status", "--json")), &s); err != nil || s.Phase != control.NotJoined || len(s.Links) != 2 {
		t.Errorf("status %+v, %v", s, err)
	}
	m.types(0, "not joined, 0 connections", "status")
	m.types(0, "It is a bridge of containers.", "links")
	m.types(0, "wlan0 is now backup, limit-up 5Mbit, cap 20GB, reset-day 3, price 1.5\n", "link", "wlan0", "backup", "--limit-up", "5Mbit", "--cap", "20GB", "--reset-day", "3", "--price", "1.5")
	m.types(0, "wlan0 is now off\n", "link", "wlan0", "off")
	m.types(0, "wlan0: limit-up none\n", "link", "wlan0", "--limit-up", "none")
	m.types(0, "", "link", "wlan0", "--limit-up", "5Mbit")
	m.types(1, `link "eth9": not found: there are wlan0`, "link", "eth9", "off")
	m.types(1, "not found", "link", "lo", "off")
	m.types(1, "-       link docker0", "check")
	m.types(1, "One is running", "check")
	var links []control.Link
	if err := json.Unmarshal([]byte(m.types(0, "", "links", "--json")), &links); err != nil {
		t.Fatal(err)
	}
	if l := links[1]; l.State != control.LinkOff || l.Role != config.Backup || l.LimitUp != 5e6 || l.Cap != 20e9 || l.ResetDay != 3 || l.Price != 1.5 {
		t.Errorf("link %+v", l)
	}
	if err := json.Unmarshal([]byte(m.types(0, "", "status", "--json")), &s); err != nil || s.Scheduler != "earliest" || s.Establish != "auto" {
		t.Errorf("status %+v, %v", s, err)
	}
	m.types(0, "That is set", "set", "--scheduler", "cost", "--establish", "ips+sim", "--inactivity", "2h,request")
	m.types(0, "scheduler cost, establish ips+sim (0 races, 0 switches), inactivity 2h,request\n", "status")
	m.types(0, "cost: 64 octets wait rather than pay a thousandth more, at least 0 bit/s\n", "status")
	m.types(0, "That is set", "set", "--inactivity", "none")
	m.types(0, "privacy standard, fast open on (0 taken, 0 refused), address unknown\n", "status")
	m.types(0, "That is set", "set", "--privacy", "strict", "--cost-v", "640", "--cost-rate", "1M", "--address", "fixed")
	m.types(0, "privacy strict, fast open off (0 taken, 0 refused), address fixed\n", "status")
	m.types(0, "cost: 640 octets wait rather than pay a thousandth more, at least 1.0 Mbit/s\n", "status")
	m.types(0, "wlan0: private on, deny 10.0.0.0/8,fd00::/8, address non-persistent\n",
		"link", "wlan0", "--private", "on", "--deny", "10.0.0.0/8,fd00::/8", "--address", "non-persistent")
	if l := d.State().Links[1]; !l.Private || l.Deny != "10.0.0.0/8,fd00::/8" || l.Address != "non-persistent" || !l.Alone {
		t.Errorf("link %+v", l)
	}
	m.types(0, "That is set; tandem status says", "set", "--inactivity", "none", "--establish", "ips+sim", "--address", "fixed")
	m.types(0, "as far as it is --inactivity-bounds, --implicit-esim, --prototype.\n",
		"set", "--prototype", "inactivity", "--implicit-esim", "on", "--inactivity-bounds", "fixed", "--inactivity", "none")
	m.types(0, "address fixed\ninactivity bounds fixed, implicit esim on, prototype inactivity\n", "status")
	if b := d.State().Bounds; !b.Fixed {
		t.Errorf("bounds %v", b)
	}
	m.types(0, "COUNTER  COUNT\n", "status", "--counters")
	m.types(0, "scheduler cost, establish ips+sim (0 races, 0 switches), inactivity none\n", "status")
	if kept, err := o.folder().Settings(); err != nil || kept.Scheduler != "cost" || kept.Establish != "ips+sim" || kept.Inactivity != (config.Inactivity{}) {
		t.Errorf("kept %+v, %v", kept, err)
	}
	m.types(0, "TARGET", "connections")
	m.types(1, "connection 7: not found: tandem connections lists them", "connections", "7")
	m.types(0, "PROTOCOL", "flows")
	m.types(1, "belongs to no hub", "up")
	m.types(0, "Programs use the Internet directly now.\n", "down")
	m.types(1, "belongs to no hub", "leave")
	m.types(1, "another tandem daemon is running", "run", "--socks", "127.0.0.1:0")
}

// TestNoSecretIsSaid: a password that is mistyped is not printed.
func TestNoSecretIsSaid(t *testing.T) {
	m := newTerminal(t)
	for _, at := range []string{"me:5ecret@127.0.0.1", "me:5ecret%zz@127.0.0.1:1", "me:5ecret@127.0.0.1:1/x"} {
		if said := m.types(2, "--socks wants", "run", "--socks", at); strings.Contains(said, "5ecret") {
			t.Errorf("%s: said %q", at, said)
		}
	}
}

// TestSecretsFromFiles: what holds a password may stand in a file that its owner alone reads.
func TestSecretsFromFiles(t *testing.T) {
	m := newTerminal(t)
	name := filepath.Join(t.TempDir(), "hub")
	write := func(text string, mode os.FileMode) {
		os.Remove(name)
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("socks5://me:5ecret@192.0.2.1:1080\n", 0o600)
	if said := m.types(-1, "socks5 at 192.0.2.1:1080.", "check", "--hub", "@"+name); strings.Contains(said, "5ecret") {
		t.Errorf("said %q", said)
	}
	write("me:5ecret@0.0.0.0:0", 0o600)
	m.types(1, "Programs that use the proxy at 0.0.0.0:0", "check", "--socks", "@"+name)
	write("me:5ecret@127.0.0.1", 0o600)
	if said := m.types(2, "--socks wants", "run", "--socks", "@"+name); strings.Contains(said, "5ecret") {
		t.Errorf("said %q", said)
	}
	write("http://me:5ecret@192.0.2.1:80", 0o600)
	if said := m.types(2, "convert or socks5, not", "run", "--hub", "@"+name); strings.Contains(said, "5ecret") {
		t.Errorf("said %q", said)
	}
	write("socks5://me:5ecret@192.0.2.1:1080", 0o640)
	m.types(1, "--hub: "+name+" is open to other users", "run", "--hub", "@"+name)
	m.types(1, "--socks: "+name+" is open to other users", "run", "--socks", "@"+name)
	m.types(1, "no such file", "run", "--hub", "@"+name+".none")
}

// TestCounters: what has not happened is not listed.
func TestCounters(t *testing.T) {
	var out bytes.Buffer
	writeCounters(&out, tally.Tally{"rate_limits": 2, "bad_join_mac": 12, "malformed": 0})
	if want := "COUNTER       COUNT\nbad_join_mac  12\nrate_limits   2\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
}

// TestHelpTellsLimits: what proxies of other makes do not carry is said where they are offered.
func TestHelpTellsLimits(t *testing.T) {
	said := newTerminal(t).types(0, "--socks", "run", "--help")
	for _, words := range []string{"convert://HOST:PORT", "TCP alone is carried", "CAP_NET_RAW", "without encryption"} {
		if !strings.Contains(said, words) {
			t.Errorf("help does not say %q:\n%s", words, said)
		}
	}
}

// TestHelp says what people look for.
func TestHelp(t *testing.T) {
	m := newTerminal(t)
	for line, want := range map[string]string{
		"--help":      "Stop using the hub; programs use the Internet directly",
		"link --help": "backup      it is used when none",
		"run --help":  "earliest, minrtt",
		"set --help":  "redundant, backup, owl or cost",
		"demo --help": "(default 6)",
		"--version":   "tandem ",
	} {
		said := m.types(0, want, strings.Fields(line)...)
		if strings.HasPrefix(line, "demo") && strings.Contains(said, "--state") {
			t.Errorf("a demo keeps no state: %q", said)
		}
	}
	if said := m.types(0, "", "--help"); strings.Index(said, "  join") > strings.Index(said, "  connections") {
		t.Errorf("not in the order of use: %q", said)
	}
}

// TestAfterJoining: who is not root learns that it has joined for itself alone.
func TestAfterJoining(t *testing.T) {
	o := options{state: "/home/me/state"}
	if said := o.afterJoining(1000); !strings.Contains(said, "/home/me/state") || !strings.Contains(said, "sudo") {
		t.Errorf("a user is told %q", said)
	}
	if said := o.afterJoining(0); strings.Contains(said, "sudo") {
		t.Errorf("root is told %q", said)
	}
}

func TestSocksAddress(t *testing.T) {
	for text, want := range map[string]client.Socks{
		"127.0.0.1:1080":     {Listen: "127.0.0.1:1080"},
		"me:pa55@0.0.0.0:80": {Listen: "0.0.0.0:80", User: "me", Password: "pa55"},
		"[::1]:1080":         {Listen: "[::1]:1080"},
	} {
		if got, err := parseSocks(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
		}
	}
}

// TestLinkTable: nothing is known of the loss of a link that is not connected.
func TestLinkTable(t *testing.T) {
	var out bytes.Buffer
	if err := writeLinks(&out, []control.Link{{Name: "wlan0", State: control.LinkConnected}, {Name: "wwan0", State: control.LinkSilent}}); err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(out.String(), "\n")
	if !strings.Contains(rows[1], "0.0 %") || strings.Contains(rows[2], "%") {
		t.Errorf("%s", out.String())
	}
}

// TestLimitsInTheTable: what a link may carry at most is said beside what it does, by whichever end limits it more.
func TestLimitsInTheTable(t *testing.T) {
	for _, c := range []struct {
		own, peer config.Rate
		granted   bool
		want      string
	}{
		{0, 0, true, "1.0 Mbit/s"},
		{5e6, 0, true, "1.0 Mbit/s, max 5.0 Mbit/s"},
		{5e6, 0, false, "1.0 Mbit/s, max 5.0 Mbit/s asked"},
		{5e6, 9e6, false, "1.0 Mbit/s, max 5.0 Mbit/s asked"},
		{5e6, 2e6, false, "1.0 Mbit/s, max 2.0 Mbit/s"},
		{0, 2e6, true, "1.0 Mbit/s, max 2.0 Mbit/s"},
	} {
		if got := rate(1e6, c.own, c.peer, c.granted); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
	var out bytes.Buffer
	writeLinks(&out, []control.Link{{Name: "wlan0", State: control.LinkConnected, LimitDown: 5e6, LimitUp: 1e6, TxRate: 9e5}})
	if !strings.Contains(out.String(), "0 bit/s, max 5.0 Mbit/s asked  900.0 kbit/s, max 1.0 Mbit/s") {
		t.Errorf("%s", out.String())
	}
}

// TestHowTheDaemonIsTold: flags become the daemon's, and what is not typed is left to the settings.
func TestHowTheDaemonIsTold(t *testing.T) {
	typed := &habits{
		scheduler: "cost", costV: "640", costRate: "1M", establish: "esim", address: "fixed", inactivity: "2h,request", privacy: "strict", fastOpen: "off",
		bounds: "1m,1h", implicit: "on", prototype: "rate-limit",
	}
	told, err := typed.read()
	want := control.Change{
		Scheduler: new(config.Scheduler("cost")), CostV: new(config.CostV(640)), CostRate: new(config.Rate(1e6)), Establish: new(config.Establish("esim")),
		Address: new(config.Address("fixed")), Inactivity: &config.Inactivity{Time: 2 * time.Hour, Request: true},
		Privacy: new(config.Privacy("strict")), FastOpen: new(false),
		Bounds: &config.Bounds{Least: time.Minute, Most: time.Hour}, ImplicitESIM: new(true), Prototype: new(config.Prototype("rate-limit")),
	}
	if err != nil || !reflect.DeepEqual(told, want) {
		t.Errorf("%+v, %v", told, err)
	}
	if told, err := new(habits).read(); err != nil || told != (control.Change{}) {
		t.Errorf("%+v, %v of nothing", told, err)
	}
	told, err = (&habits{inactivity: "none", costRate: "none", costV: "0", fastOpen: "on"}).read()
	if err != nil || told.Inactivity == nil || told.CostRate == nil || told.CostV == nil || told.FastOpen == nil || !*told.FastOpen {
		t.Errorf("%+v, %v: none is something", told, err)
	}
}

func TestPatience(t *testing.T) {
	for want, i := range map[string]control.Inactivity{
		"may be idle for ever": {},
		"may be idle for 2h0m0s, of which 1h59m0s are left; the other end is asked to be as patient": {Own: 7200, Used: 7200, Left: 7140, Request: true},
		"may be idle for ever; the other end waits for 10m0s":                                        {Peer: 600},
		"may be idle for 10m0s, of which 0s are left; the other end asks for 10m0s":                  {Peer: 600, PeerRequests: true, Used: 600},
	} {
		if got := patience(i); got != want {
			t.Errorf("%+v: %q, want %q", i, got, want)
		}
	}
}
