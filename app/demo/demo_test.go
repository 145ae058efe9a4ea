package demo

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"
)

// TestDemo runs the whole of it, briefly: short measurements say little about rates, all about octets.
func TestDemo(t *testing.T) {
	var out bytes.Buffer
	if err := Run(t.Context(), Options{JSON: true, Measure: time.Second}, &out); err != nil {
		t.Fatal(err)
	}
	var r struct {
		Links []struct {
			Name      string  `json:"name"`
			Rate      float64 `json:"rate_mbps"`
			Delay     float64 `json:"delay_ms"`
			Forwarded int64   `json:"forwarded_bytes"`
		} `json:"links"`
		Single   map[string]float64 `json:"single_mbps"`
		Bonded   float64            `json:"bonded_mbps"`
		OfSum    float64            `json:"of_sum"`
		Stall    float64            `json:"failover_stall_ms"`
		Verified bool               `json:"verified"`
	}
	d := json.NewDecoder(&out)
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatal(err)
	}
	if d.Decode(&struct{}{}) != io.EOF {
		t.Error("more than one line")
	}
	t.Logf("%+v", r)
	if !r.Verified || len(r.Links) != 2 || r.Links[0].Rate != 50 || r.Links[1].Delay != 30 {
		t.Errorf("got %+v", r)
	}
	for _, l := range r.Links {
		if l.Forwarded < 1e6 || r.Single[l.Name] <= 0 || r.Single[l.Name] > l.Rate {
			t.Errorf("%s: %+v, %.1f Mbit/s", l.Name, l, r.Single[l.Name])
		}
	}
	if r.Bonded <= max(r.Single["wifi"], r.Single["cellular"]) || r.OfSum != r.Bonded/80 {
		t.Errorf("both carry %.1f Mbit/s, %.2f of the sum; alone %v", r.Bonded, r.OfSum, r.Single)
	}
}

// TestVerify: one wrong octet is noticed, whatever the pieces in which it comes.
func TestVerify(t *testing.T) {
	right := make([]byte, 100_000)
	octets().Read(right)
	heard := 0
	count := func(n int) { heard += n }
	if err := verify(inPieces(bytes.NewReader(right)), count); err != io.EOF || heard != len(right) {
		t.Errorf("%d octets, then %v", heard, err)
	}
	right[70_001] ^= 1
	if err := verify(bytes.NewReader(right), func(int) {}); err != errWrong {
		t.Errorf("got %v", err)
	}
}

// inPieces returns what r holds in pieces of odd lengths.
func inPieces(r io.Reader) io.Reader { return &odd{r, 1} }

type odd struct {
	r io.Reader
	n int
}

func (o *odd) Read(p []byte) (int, error) {
	o.n = o.n*3%1021 + 1
	return o.r.Read(p[:min(len(p), o.n)])
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		rate float64
		want int
	}{{0, 0}, {25e6, 10}, {50e6, 20}, {90e6, 20}} {
		if n := strings.Count(bar("wifi", c.rate, 50e6), "█"); n != c.want {
			t.Errorf("%.0f Mbit/s: %d of 20", c.rate/1e6, n)
		}
	}
}

// TestLowFigures: people are told why figures are low, once.
func TestLowFigures(t *testing.T) {
	at := func(mbps float64) measurement {
		return measurement{octets: int64(mbps * 1e6 / 8), took: time.Second, carried: [2]int64{int64(mbps * 1e6 / 8)}}
	}
	full := result{single: [2]measurement{at(47), at(28)}, bonded: at(75), failover: at(50)}
	slow, short := full, full
	slow.single[1] = at(20)
	short.short = true
	for _, c := range []struct {
		result result
		want   string
	}{{full, ""}, {slow, "too busy"}, {short, "were short"}} {
		var out bytes.Buffer
		if err := newDisplay(&out, false).result(c.result); err != nil {
			t.Fatal(err)
		}
		if low := strings.Contains(out.String(), "figures are low"); low != (c.want != "") || !strings.Contains(out.String(), c.want) {
			t.Errorf("want %q:\n%s", c.want, out.String())
		}
	}
}
