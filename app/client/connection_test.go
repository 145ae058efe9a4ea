package client

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem/app/control"
	"tandem/engine"
)

// subflows waits until a connection has those established, one over each of these links.
func (w *world) subflows(api *control.Client, number int, links ...string) control.Connection {
	w.t.Helper()
	ctx := w.ctx()
	for {
		one, err := api.Connection(ctx, number)
		if err != nil {
			w.t.Fatalf("%v, want subflows over %q", err, links)
		}
		var got []string
		for _, f := range one.Subflows {
			if f.Established && !f.Leaving {
				got = append(got, f.Link)
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") == strings.Join(links, " ") {
			return one
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("subflows over %q, want %q\n%s", got, links, one.Trace)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestConnectionByHand: what people do with a connection happens, to that one alone.
func TestConnectionByHand(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	w.join()
	cfg := w.config()
	cfg.Socket = filepath.Join(t.TempDir(), "s")
	w.start(cfg)
	w.connected("wlan0", "wwan0")
	api := control.NewClient(cfg.Socket)
	s, other := w.dial(), w.dial()
	defer other.Close()
	echoes(t, s, 1000)
	echoes(t, other, 1000)
	first := w.subflows(api, 1, "wlan0", "wwan0")
	if f := first.Subflows[0]; !first.Multipath || first.Via != control.ViaHub || first.Token == 0 || f.MSS == 0 || f.Window == 0 || f.RTT == 0 || f.Remote != somewhere {
		t.Errorf("%+v", first)
	}
	ids := map[string]int{}
	for _, f := range first.Subflows {
		ids[f.Link] = f.ID
	}

	backup := true
	if err := api.ChangeSubflow(w.ctx(), 1, ids["wlan0"], control.SubflowChange{Backup: &backup}); err != nil {
		t.Fatal(err)
	}
	for _, f := range w.subflows(api, 1, "wlan0", "wwan0").Subflows {
		if f.Backup != (f.Link == "wlan0") {
			t.Errorf("%+v", f)
		}
	}
	echoes(t, s, 50e3)

	if err := api.ChangeSubflow(w.ctx(), 1, ids["wlan0"], control.SubflowChange{Close: control.CloseFIN}); err != nil {
		t.Fatal(err)
	}
	one := w.subflows(api, 1, "wwan0")
	if !strings.Contains(one.Trace, "closed as asked") {
		t.Errorf("the trace does not tell it:\n%s", one.Trace)
	}
	echoes(t, s, 50e3)
	w.subflows(api, 2, "wlan0", "wwan0")
	id, err := api.OpenSubflow(w.ctx(), 1, control.SubflowOpen{Link: "wlan0"})
	if err != nil {
		t.Fatal(err)
	}
	again := w.subflows(api, 1, "wlan0", "wwan0")
	if f := again.Subflows[len(again.Subflows)-1]; f.ID != id || f.Backup {
		t.Errorf("opened %d, got %+v", id, f)
	}
	echoes(t, s, 50e3)

	events := w.watch(api, 1)
	events.want("added wlan0", "established wlan0", "added wwan0", "established wwan0")
	if err := api.UseLink(w.ctx(), 1, "wlan0", false); err != nil {
		t.Fatal(err)
	}
	w.subflows(api, 1, "wwan0")
	events.want("removed wlan0")
	echoes(t, s, 50e3)
	if err := api.UseLink(w.ctx(), 1, "wlan0", true); err != nil {
		t.Fatal(err)
	}
	w.subflows(api, 1, "wlan0", "wwan0")
	events.want("added wlan0", "established wlan0")
	if err := api.Events(w.ctx(), 1, nil); err == nil || err.Error() != "connection 1 is watched by somebody else already" {
		t.Errorf("two watch: %v", err)
	}
	events = w.watchAgain(events, api, 1)

	if err := api.CloseConnection(w.ctx(), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, engine.ErrAborted) || errors.Is(err, io.EOF) {
		t.Errorf("read after it was closed: %v", err)
	}
	if err := <-events.over; err != nil {
		t.Errorf("events of a connection that is over: %v", err)
	}
	echoes(t, other, 1000)
}

// watchAgain has somebody watch a connection after somebody else did, and things happened that nobody saw: what there
// is now is told, and nothing of the past.
func (w *world) watchAgain(was happenings, api *control.Client, number int) happenings {
	w.t.Helper()
	was.leave()
	if err := <-was.over; !errors.Is(err, context.Canceled) {
		w.t.Errorf("who leaves hears %v", err)
	}
	for _, f := range w.subflows(api, number, "wlan0", "wwan0").Subflows {
		if backup := !f.Backup; f.Link == "wwan0" {
			if err := api.ChangeSubflow(w.ctx(), number, f.ID, control.SubflowChange{Backup: &backup}); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	var is happenings
	for busy := true; busy; { // until the daemon has noticed that the first has left
		is = w.watch(api, number)
		select {
		case first := <-is.heard:
			busy = false
			if !strings.HasPrefix(first, "added ") {
				w.t.Errorf("first heard: %s", first)
			}
		case <-is.over:
		}
	}
	for range 3 {
		<-is.heard
	}
	if err := api.UseLink(w.ctx(), number, "wlan0", false); err != nil {
		w.t.Fatal(err)
	}
	for now := ""; now != "removed wlan0"; now = <-is.heard {
		if now == "priority wwan0" {
			w.t.Error("heard of the past")
		}
	}
	return is
}

// Happenings are what is heard of a connection.
type happenings struct {
	*world
	heard chan string
	over  chan error
	leave func()
}

func (w *world) watch(api *control.Client, number int) happenings {
	ctx, cancel := context.WithCancel(w.ctx())
	h := happenings{w, make(chan string, 100), make(chan error, 1), cancel}
	go func() {
		h.over <- api.Events(ctx, number, func(e control.Event) { h.heard <- e.Kind + " " + e.Link })
	}()
	return h
}

// want waits for these, in any order of links; others may come between.
func (h happenings) want(all ...string) {
	h.t.Helper()
	for len(all) > 0 {
		select {
		case is := <-h.heard:
			if i := slices.Index(all, is); i >= 0 {
				all = slices.Delete(all, i, i+1)
			}
		case <-h.ctx().Done():
			h.t.Fatalf("not heard: %q", all)
		}
	}
}

// Those who mistype learn what there is.
func TestConnectionByHandFails(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	w.join()
	cfg := w.config()
	cfg.Socket = filepath.Join(t.TempDir(), "s")
	w.start(cfg)
	w.connected("wlan0", "wwan0")
	api := control.NewClient(cfg.Socket)
	s := w.dial()
	defer s.Close()
	echoes(t, s, 1000)
	w.subflows(api, 1, "wlan0", "wwan0")
	says := func(err error, want string) {
		t.Helper()
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	open := func(number int, o control.SubflowOpen) error {
		_, err := api.OpenSubflow(w.ctx(), number, o)
		return err
	}
	says(api.CloseConnection(w.ctx(), 9), "connection 9: not found: tandem connections lists them")
	says(open(9, control.SubflowOpen{Link: "wlan0"}), "connection 9: not found: tandem connections lists them")
	says(open(1, control.SubflowOpen{Link: "eth9"}), `link "eth9": not found: there are wlan0, wwan0`)
	says(api.UseLink(w.ctx(), 9, "wlan0", true), "connection 9: not found: tandem connections lists them")
	says(api.UseLink(w.ctx(), 1, "eth9", false), `link "eth9": not found: there are wlan0, wwan0`)
	says(api.Events(w.ctx(), 9, nil), "connection 9: not found: tandem connections lists them")
	says(open(1, control.SubflowOpen{}), "over which link, or from which address?")
	says(open(1, control.SubflowOpen{Link: "wlan0"}), "connection 1: there is such a subflow already")
	says(open(1, control.SubflowOpen{Local: netip.MustParseAddrPort("192.0.2.1:0")}), "connection 1: no path to that address")
	says(api.ChangeSubflow(w.ctx(), 1, 77, control.SubflowChange{Close: control.CloseReset}), "subflow 77 of connection 1: not found: tandem connections 1 lists them")
	off := false
	if err := w.client.SetLink(w.ctx(), "wwan0", control.LinkChange{On: &off}); err != nil {
		t.Fatal(err)
	}
	one := w.subflows(api, 1, "wlan0")
	says(api.UseLink(w.ctx(), 1, "wwan0", true), `link "wwan0" is not used: tandem links says why`)
	says(api.UseLink(w.ctx(), 1, "wlan0", false), "connection 1: no other subflow can take its place")
	says(open(1, control.SubflowOpen{Link: "wwan0"}), `link "wwan0" is not used: tandem links says why`)
	id := 0
	for _, f := range one.Subflows {
		if f.Established && f.Link == "wlan0" {
			id = f.ID
		}
	}
	says(api.ChangeSubflow(w.ctx(), 1, id, control.SubflowChange{Close: control.CloseFIN}), "connection 1: no other subflow can take its place")
	echoes(t, s, 1000)
}
