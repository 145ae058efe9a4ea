package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"rsc.io/qr"

	"tandem/app/apptest"
	"tandem/app/command"
	"tandem/app/config"
	"tandem/app/invite"
	"tandem/app/server"
	"tandem/engine"
)

// typed runs a command line and returns what it printed.
func typed(t *testing.T, ctx context.Context, args ...string) (code int, out, errors string) {
	t.Helper()
	var o, e bytes.Buffer
	code = command.Run(ctx, commands(), args, &o, &e)
	return code, o.String(), e.String()
}

func TestMisuse(t *testing.T) {
	state := t.TempDir() + "/hub"
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"", command.Misused, "which command"},
		{"frobnicate", command.Misused, "no command"},
		{"--frobnicate", command.Misused, "unknown flag"},
		{"run --frobnicate", command.Misused, "See tandem-hub run --help."},
		{"run now", command.Misused, "options only"},
		{"run --listen here", command.Misused, "ADDR:PORT"},
		{"run --listen example.net:8684", command.Misused, "ADDR:PORT"},
		{"invite --expires soon", command.Misused, "invalid argument"},
		{"invite --expires -1h", command.Misused, "positive"},
		{"invite --replace", command.Misused, "--name"},
		{"revoke", command.Misused, "one device"},
		{"revoke a b", command.Misused, "one device"},
		{"run --scheduler best", command.Misused, `--scheduler: "best" is not a scheduler`},
		{"run --cost-v -1", command.Misused, "--cost-v: -1 is not a number of octets"},
		{"run --cost-rate 5", command.Misused, "--cost-rate: 5 what?"},
		{"run --inactivity 2", command.Misused, `--inactivity: "2" is not a time`},
		{"run --inactivity-bounds 1h", command.Misused, `--inactivity-bounds: "1h" is neither fixed`},
		{"convert --metrics 0.0.0.0:9100", command.Failed, "metrics are for this machine alone"},
		{"implicit --announce nowhere", command.Misused, `--announce wants IP addresses, not "nowhere"`},
		{"implicit --announce 192.0.2.1 --prototype both", command.Misused, `--prototype: "both" is no meaning`},
		{"implicit --announce 192.0.2.1 --inactivity-bounds 1h", command.Misused, "--inactivity-bounds"},
		{"implicit --announce 192.0.2.1 --metrics 0.0.0.0:9100", command.Misused, "loopback"},
		{"implicit", command.Misused, "name it with --announce"},
		{"run --endpoint nowhere", command.Failed, "such as nowhere:8684"},
		{"run --metrics 0.0.0.0:9100", command.Failed, "loopback"},
		{"invite", command.Failed, "no hub"},
		{"devices", command.Failed, "no hub"},
		{"revoke laptop", command.Failed, "as the user who runs the hub"},
		{"run --state /proc/none", command.Failed, "--state a directory that is yours"},
	} {
		code, out, errors := typed(t, t.Context(), append([]string{"--state", state}, strings.Fields(c.args)...)...)
		if code != c.code || !strings.Contains(errors, c.says) || out != "" {
			t.Errorf("%q: exit %d, %q, %q", c.args, code, out, errors)
		}
		if (code == command.Misused) != strings.Contains(errors, "\nSee tandem-hub") || strings.Count(errors, "\n") > 2 {
			t.Errorf("%q: exit %d with %q", c.args, code, errors)
		}
		if _, err := os.Stat(state); err == nil {
			t.Fatalf("%q made %s", c.args, state)
		}
	}
}

// TestPatience: how long connections may be idle is told as for devices, and by default as is usual where it is asked.
func TestPatience(t *testing.T) {
	minutes := config.Bounds{Least: time.Minute, Most: 10 * time.Minute}
	for _, c := range []struct {
		typed []string
		usual config.Bounds
		want  engine.Inactivity
	}{
		{nil, config.Bounds{}, engine.Inactivity{}},
		{nil, minutes, engine.Inactivity{Least: time.Minute, Most: 10 * time.Minute}},
		{[]string{"--inactivity", "2h,request"}, config.Bounds{}, engine.Inactivity{Time: 2 * time.Hour, Request: true}},
		{[]string{"--inactivity", "5m", "--inactivity-bounds", "fixed"}, minutes, engine.Inactivity{Time: 5 * time.Minute, Fixed: true}},
		{[]string{"--inactivity", "2h", "--inactivity-bounds", "100s,1h"}, minutes, engine.Inactivity{Time: time.Hour, Least: 100 * time.Second, Most: time.Hour}},
	} {
		var is engine.Inactivity
		var command cobra.Command
		parse := patience(&command, &is, c.usual)
		if err := errors.Join(command.ParseFlags(c.typed), parse()); err != nil || is != c.want {
			t.Errorf("%q: %+v, %v, want %+v", c.typed, is, err, c.want)
		}
	}
}

// anyPort is one that nobody else has: tests of other packages take ports at the same time.
const anyPort = "127.0.0.1:0"

// An evening with a hub: it is run, asked for codes and devices, and stopped with an interrupt.
func TestHub(t *testing.T) {
	state := filepath.Join(t.TempDir(), "hub")
	if _, out, _ := typed(t, t.Context(), "check", "--state", state, "--listen", anyPort); !strings.Contains(out, "is free") {
		t.Errorf("check:\n%s", out)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	done := make(chan int)
	go func() {
		done <- command.Run(ctx, commands(), []string{"run", "--state", state, "--listen", anyPort, "--endpoint", "hub.example.net:8684", "--endpoint", "192.0.2.1:8684"}, io.Discard, io.Discard)
	}()
	apptest.Until(t, "the hub is up", func() bool {
		o, err := server.Open(state)
		if err != nil {
			return false
		}
		defer o.Close()
		return o.Running()
	})

	code, out, _ := typed(t, t.Context(), "invite", "--state", state, "--name", "laptop", "--expires", "2h")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	c, err := invite.Parse(lines[len(lines)-1])
	if code != 0 || err != nil || len(c.Endpoints) != 2 || time.Until(c.Expires) < 119*time.Minute {
		t.Errorf("invite: exit %d, %v, %v\n%s", code, err, c.Endpoints, out)
	}
	code, out, _ = typed(t, t.Context(), "invite", "--state", state, "--json")
	var said struct {
		Code    string
		Running bool `json:"hub_running"`
	}
	if err := json.Unmarshal([]byte(out), &said); code != 0 || err != nil || !said.Running {
		t.Errorf("invite --json: exit %d, %v\n%s", code, err, out)
	}
	if _, err := invite.Parse(said.Code); err != nil {
		t.Error(err)
	}
	code, out, _ = typed(t, t.Context(), "devices", "--state", state, "--json")
	var l server.Listing
	if err := json.Unmarshal([]byte(out), &l); code != 0 || err != nil || len(l.Invites) != 2 {
		t.Errorf("devices --json: exit %d, %v\n%s", code, err, out)
	}
	if code, out, _ = typed(t, t.Context(), "devices", "--state", state); code != 0 || !strings.Contains(out, "laptop    invited until") || !strings.Contains(out, "invite:1  invited until") {
		t.Errorf("devices: exit %d\n%s", code, out)
	}
	if code, out, errors := typed(t, t.Context(), "revoke", "--state", state, "laptop"); code != 0 || out != "The invite for laptop is withdrawn.\n" {
		t.Errorf("revoke of an invite: exit %d, %s", code, errors)
	}
	if code, out, errors := typed(t, t.Context(), "revoke", "--state", state, "invite:1"); code != 0 || out != "invite:1 is withdrawn.\n" {
		t.Errorf("revoke of an invite without a name: exit %d, %s", code, errors)
	}
	if _, out, _ := typed(t, t.Context(), "devices", "--state", state); strings.Contains(out, "invited") {
		t.Errorf("devices after that:\n%s", out)
	}
	if code, _, errors := typed(t, t.Context(), "revoke", "--state", state, "laptop"); code != command.Failed || !strings.Contains(errors, "no device") {
		t.Errorf("revoke: exit %d, %s", code, errors)
	}
	if code, _, errors := typed(t, t.Context(), "run", "--state", state); code != command.Failed || !strings.Contains(errors, "another tandem-hub") {
		t.Errorf("a second hub: exit %d, %s", code, errors)
	}
	taken, err := net.ListenPacket("udp4", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	code, out, _ = typed(t, t.Context(), "check", "--state", state+"2", "--listen", taken.LocalAddr().String())
	if code != command.Failed || !strings.Contains(out, "taken") || !strings.Contains(out, "MISSING") || !strings.Contains(out, "another user") {
		t.Errorf("check on its port: exit %d\n%s", code, out)
	}
	interrupt()
	select {
	case code := <-done:
		if code != 0 {
			t.Errorf("the hub ended with exit %d", code)
		}
	case <-time.After(apptest.Soon):
		t.Fatal("the hub does not stop")
	}
	if code, out, errors := typed(t, t.Context(), "invite", "--state", state); code != 0 || !strings.Contains(errors, "does not run") || !strings.Contains(out, "tandem1-") {
		t.Errorf("invite without it: exit %d, %s\n%s", code, errors, out)
	}
}

// What is over is shown on demand only.
func TestListing(t *testing.T) {
	when := time.Date(2030, 1, 1, 12, 0, 0, 0, time.Local)
	list := func(all bool) string {
		var b strings.Builder
		err := printListing(&b, server.Listing{
			Devices: []server.DeviceInfo{
				{Name: "laptop", Online: true, Received: 1234, Seen: &when, Foreign: 1, AllowLAN: true},
				{Name: "old", Revoked: &when, Foreign: 2},
			},
			Invites: []server.InviteInfo{{ID: "desk", Name: "desk", Expires: when}, {ID: "invite:3", Expires: when, Stale: true}, {UsedBy: "laptop"}},
		}, all)
		if err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	const (
		head = "NAME      STATE                           CONNECTIONS  FROM IT  TO IT  LAST HEARD        LINKS  NOTES\n" +
			"laptop    online                          0            1.23 kB  0 B    2030-01-01 12:00  0      local network; its code was tried by others once\n"
		old  = "old       revoked                         0            0 B      0 B    never             0      its code was tried by others 2 times\n"
		open = "desk      invited until 2030-01-01 12:00                                                        \n" +
			"invite:3  invited until 2030-01-01 12:00                                                        its code leads to where the hub is no more: make a new one\n"
		used = "laptop    invite used                                                                           \n"
	)
	if got, want := list(true), head+old+open+used; got != want {
		t.Errorf("all:\n%s\nwant:\n%s", got, want)
	}
	if got, want := list(false), head+open+"--all shows 2 more: revoked devices, used invites.\n"; got != want {
		t.Errorf("current:\n%s\nwant:\n%s", got, want)
	}
}

func TestVersion(t *testing.T) {
	if code, out, _ := typed(t, t.Context(), "--version"); code != 0 || !strings.HasPrefix(out, "tandem-hub ") {
		t.Errorf("exit %d, %q", code, out)
	}
	if _, out, _ := typed(t, t.Context(), "run", "--help"); !strings.Contains(out, "--state DIR") {
		t.Errorf("help:\n%s", out)
	}
}

// What is drawn is what a reader of QR codes must find: two modules a character, light drawn.
func TestQR(t *testing.T) {
	var b bytes.Buffer
	if err := drawQR(&b, "TANDEM1-ABCDEF"); err != nil {
		t.Fatal(err)
	}
	code, err := qr.Encode("TANDEM1-ABCDEF", qr.L)
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	if want := (code.Size + 4 + 1) / 2; len(rows) != want {
		t.Fatalf("%d rows, not %d", len(rows), want)
	}
	for y, row := range rows {
		for x, c := range []rune(row) {
			upper, lower := c == '█' || c == '▀', c == '█' || c == '▄'
			if upper == code.Black(x-2, 2*y-2) || lower == code.Black(x-2, 2*y-1) {
				t.Fatalf("character %d of row %d is %c", x, y, c)
			}
		}
	}
}

func TestOctets(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 999: "999 B", 1000: "1 kB", 1234: "1.23 kB", 999_400: "999 kB", 999_600: "1 MB", 12_345_678: "12.3 MB", 1 << 63: "9.22 EB",
	} {
		if got := octets(n); got != want {
			t.Errorf("%d: %q, not %q", n, got, want)
		}
	}
}

// README.md tells people to type what can be typed.
func TestReadme(t *testing.T) { apptest.CheckReadme(t, commands, nil) }
