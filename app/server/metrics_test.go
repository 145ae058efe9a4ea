package server

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"tandem/app/apptest"
	"tandem/engine"
)

func TestMetrics(t *testing.T) {
	w := newWorld(t, 1)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.config.Metrics = free.Addr().String()
	free.Close()
	w.start()
	d := w.join(w.invite(InviteOptions{}), "laptop", 0)
	c, err := d.dial(somewhere)
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, c, "hello")
	r, err := http.Get("http://" + w.config.Metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	for _, want := range []string{`tandem_hub_device_connections{device="laptop"} 1`, `tandem_hub_device_offers_total{device="laptop"} 1`, "tandem_hub_files 1",
		`tandem_hub_device_counted_total{counter="bad_join_mac",device="laptop"} 0`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

// TestCountersOutliveSessions: what a device's connections have counted is kept when its bond ends.
func TestCountersOutliveSessions(t *testing.T) {
	w := newWorld(t, 1).start()
	d := w.join(w.invite(InviteOptions{}), "laptop", 0)
	resets := func() uint64 {
		l, err := w.server.Devices()
		if err != nil {
			t.Fatal(err)
		}
		return l.Devices[0].Counters["resets"]
	}
	for n := range uint64(2) {
		c, err := d.dial(somewhere)
		if err != nil {
			t.Fatal(err)
		}
		c.Abort(net.ErrClosed)
		apptest.Until(t, "the reset is counted", func() bool { return resets() == n+1 })
		w.server.device(1).end(engine.ByeShutdown, func() {})
		if is := resets(); is != n+1 {
			t.Errorf("%d resets when the session has ended", is)
		}
		d.off()
		if n == 0 {
			d.engine = engine.New(engine.Config{})
			d.on(0)
		}
	}
}

// TestConvertMetrics: what a converter has counted is told while it runs, to this machine alone.
func TestConvertMetrics(t *testing.T) {
	if _, err := NewConverter(ConvertConfig{Metrics: "0.0.0.0:9100"}); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("for everybody: %v", err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	free.Close()
	b := newBureau(t, ConvertConfig{Metrics: at})
	c, err := net.Dial("tcp", b.c.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	apptest.Until(t, "the client is counted", func() bool {
		r, err := http.Get("http://" + at + "/metrics")
		if err != nil {
			return false // it is about to listen
		}
		defer r.Body.Close()
		text, _ := io.ReadAll(r.Body)
		return strings.Contains(string(text), `tandem_convert_counted_total{counter="clients"} 1`) &&
			strings.Contains(string(text), `tandem_convert_counted_total{counter="foreign"} 0`)
	})
}
