package path

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"tandem/engine/clock"
)

// fate is what became of the nth packet, and when that is known.
type fate struct {
	at   clock.Time
	n    int
	lost bool
}

// Many subflows that each wait with the acknowledgement of one segment make what is delivered come in lumps: it
// is no faster for that, and its round trips say nothing about a queue.
func TestDelayedAcknowledgementsDoNotRaiseTheRate(t *testing.T) {
	const trip, delay = 100 * time.Millisecond, 30 * time.Millisecond
	for name, c := range map[string]struct {
		every time.Duration // between packets; the link carries one in a millisecond
		drop  int           // and drops each one of so many
	}{
		"nothing is lost":          {time.Millisecond, 0},
		"what is too much is lost": {800 * time.Microsecond, 5},
	} {
		t.Run(name, func(t *testing.T) {
			s := play(t)
			s.window = 1000 * testMTU
			var fates []fate
			sent := make([]Stamp, 1000)
			for n := range sent {
				s.now = second.Add(time.Duration(n) * c.every)
				sent[n] = Stamp{SentAt: s.now}
				f := fate{at: s.now.Add(trip), n: n}
				switch {
				case c.drop > 0 && n%c.drop == c.drop-1:
					f.lost, f.at = true, f.at.Add(3*c.every)
				case n/25%2 == 1 && n%3 == 0 && n < len(sent)-50:
					f.at = f.at.Add(delay)
				}
				fates = append(fates, f)
			}
			slices.SortStableFunc(fates, func(a, b fate) int { return cmp.Compare(a.at, b.at) })
			most, next := 0, 0
			for _, f := range fates {
				for ; next < len(sent) && sent[next].SentAt <= f.at; next++ {
					s.now = sent[next].SentAt
					sent[next] = s.send()
				}
				s.now = f.at
				if f.lost {
					s.lose(sent[f.n])
					continue
				}
				s.ack(sent[f.n])
				most = max(most, s.last.Rate)
				if delayed := f.at.Sub(sent[f.n].SentAt) > trip; delayed != (s.last.RTT == 0) {
					t.Fatalf("packet %d: round trip %v", f.n, s.last.RTT)
				}
			}
			if want := testMTU * 1000; most < want*98/100 || most > want*103/100 {
				t.Errorf("rate %d at most, want about %d", most, want)
			}
		})
	}
}

// An acknowledgement of what was sent twice may be of the first copy: it does not show that what left between
// the two has arrived.
func TestSentTwiceTellsNothingOfTheOthers(t *testing.T) {
	s := play(t)
	s.trip(20 * time.Millisecond)
	var sent []Stamp
	for range 10 {
		sent = append(sent, s.send())
		s.advance(time.Millisecond)
	}
	s.advance(10 * time.Millisecond)
	before := s.p.rate.passed
	s.p.Acked(s.now, s.send(), testMTU, true)
	s.p.Done(s.now)
	s.want("passed", int(s.p.rate.passed-before), 0)
	s.ack(sent[0])
	s.want("passed with the first", int(s.p.rate.passed-before), testMTU)
}

// Time in which nothing was in flight belongs to no sample, even if the last to arrive had been sent twice.
func TestRateAfterSilence(t *testing.T) {
	s := play(t)
	s.trip(20 * time.Millisecond)
	st := s.send()
	s.advance(20 * time.Millisecond)
	s.p.Acked(s.now, st, testMTU, true)
	s.p.Done(s.now)
	s.advance(time.Second)
	s.trip(20 * time.Millisecond)
	s.want("rate", s.last.Rate, testMTU*50)
}
