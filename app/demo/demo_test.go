package demo

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"
)

// TestDemo runs the whole of it, briefly, over links so slow that they, and not this machine, decide what they carry.
func TestDemo(t *testing.T) {
	slow := usualLinks
	for i := range slow {
		slow[i].conditions.Rate /= 10
	}
	var out bytes.Buffer
	show := newDisplay(&out, true)
	r, err := run(t.Context(), Options{Measure: time.Second, links: slow}, show)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range slow {
		if alone := r.single[i]; alone.octets == 0 || alone.mbps() > l.mbps() || alone.carried[1-i] > alone.carried[i]/4 {
			t.Errorf("%s alone: %+v", l.name, alone)
		}
		if both := r.bonded.carried; both[i] < (both[0]+both[1])/10 {
			t.Errorf("both: %s carried %d octets of %d", l.name, both[i], both[0]+both[1])
		}
	}
	if err := show.result(r); err != nil {
		t.Fatal(err)
	}
	v := readResult(t, &out)
	if !v.Verified || len(v.Links) != 2 || v.Links[0].Rate != 5 || v.Links[1].Delay != 30 || v.Links[1].Forwarded != r.forwarded[1] {
		t.Errorf("got %+v", v)
	}
	if v.Single["cellular"] != r.single[1].mbps() || v.Bonded != r.bonded.mbps() || v.OfSum != v.Bonded/8 || v.Stall <= 0 {
		t.Errorf("got %+v", v)
	}
}

type writtenResult struct {
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

// readResult reads what has been written as JSON: one line with these fields and no others.
func readResult(t *testing.T, in io.Reader) (v writtenResult) {
	d := json.NewDecoder(in)
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	if d.Decode(&struct{}{}) != io.EOF {
		t.Error("more than one line")
	}
	return v
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
	}{{0, 0}, {25, 10}, {50, 20}, {90, 20}} {
		if n := strings.Count(bar("wifi", c.rate, 50), "█"); n != c.want {
			t.Errorf("%.0f Mbit/s: %d of 20", c.rate, n)
		}
	}
}

// TestLowFigures: people are told why figures are low, once.
func TestLowFigures(t *testing.T) {
	at := func(mbps float64) measurement {
		return measurement{octets: int64(mbps * 1e6 / 8), took: time.Second, carried: [2]int64{int64(mbps * 1e6 / 8)}}
	}
	full := result{links: usualLinks, single: [2]measurement{at(47), at(28)}, bonded: at(75), failover: at(50)}
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
