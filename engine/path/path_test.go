package path

import (
	"testing"
	"time"
	"unsafe"

	"tandem/engine/clock"
)

// ear is a controller that only listens.
type ear struct {
	window, pace                         int
	losses, marks, timeouts, undos, acks int
	last                                 Sample
}

func (e *ear) OnSent(clock.Time, int, int, bool) {}
func (e *ear) OnAck(s Sample)                    { e.acks++; e.last = s }
func (e *ear) OnLoss(s Sample)                   { e.losses++; e.last = s }
func (e *ear) OnECN(Sample)                      { e.marks++ }
func (e *ear) OnSpurious()                       { e.undos++ }
func (e *ear) OnTimeout(clock.Time)              { e.timeouts++ }
func (e *ear) Window() int                       { return e.window }
func (e *ear) Pace() int                         { return e.pace }

// script drives a path whose controller only listens.
type script struct {
	*testing.T
	*ear
	p   *Path
	now clock.Time
}

func play(t *testing.T) *script {
	e := &ear{window: 100 * testMTU}
	return &script{T: t, ear: e, p: New(e, testMTU), now: second}
}

func (s *script) advance(d time.Duration) { s.now = s.now.Add(d) }
func (s *script) send() Stamp             { return s.p.Sent(s.now, testMTU) }
func (s *script) ack(sts ...Stamp) {
	for _, st := range sts {
		s.p.Acked(s.now, st, testMTU, false)
	}
	s.p.Done(s.now)
}
func (s *script) lose(sts ...Stamp) {
	for _, st := range sts {
		s.p.Lost(s.now, st, testMTU)
	}
	s.p.Done(s.now)
}

// trip has a packet make a round trip of d.
func (s *script) trip(d time.Duration) {
	st := s.send()
	s.advance(d)
	s.ack(st)
}

func (s *script) want(what string, got, want int) {
	s.Helper()
	if got != want {
		s.Errorf("%s: got %d, want %d", what, got, want)
	}
}

func TestInflight(t *testing.T) {
	s := play(t)
	a, b, c := s.send(), s.send(), s.send()
	s.want("sent", s.p.Inflight(), 3*testMTU)
	s.advance(10 * time.Millisecond)
	s.ack(a)
	s.want("acked", s.p.Inflight(), 2*testMTU)
	s.want("reported before", s.last.Prior, 3*testMTU)
	s.want("reported after", s.last.Inflight, 2*testMTU)
	s.lose(b)
	s.want("lost", s.p.Inflight(), testMTU)
	s.p.Forget(testMTU)
	s.want("forgotten", s.p.Inflight(), 0)
	s.ack(c)
	s.want("acked after it was forgotten", s.p.Inflight(), 0)
	s.p.Done(s.now)
	s.want("reports", s.acks, 3)
}

func TestRoom(t *testing.T) {
	s := play(t)
	s.window = 2*testMTU + 1
	s.want("an empty window", s.p.Room(s.now), 2*testMTU+1)
	s.send()
	s.send()
	s.want("an octet left lets a packet leave", s.p.Room(s.now), testMTU)
	s.send()
	s.want("a full window", s.p.Room(s.now), 0)
}

// A controller that lets nothing leave cannot stop a path with nothing in flight.
func TestAnEmptyPathTakesAPacket(t *testing.T) {
	s := play(t)
	s.window = 0
	s.want("window", s.p.Window(), testMTU)
	s.want("room", s.p.Room(s.now), testMTU)
	s.send()
	s.want("window with a packet in flight", s.p.Window(), 0)
	s.want("room with a packet in flight", s.p.Room(s.now), 0)
}

// A hundred subflows lose a packet each of one flight: the window is reduced once, and once more for
// the next flight.
func TestOneReductionPerRoundTrip(t *testing.T) {
	for _, subflows := range []int{1, 100} {
		s := play(t)
		s.window = 1000 * testMTU
		for flight := 1; flight <= 2; flight++ {
			var sent []Stamp
			for range 200 {
				s.advance(100 * time.Microsecond)
				sent = append(sent, s.send())
			}
			s.advance(20 * time.Millisecond)
			s.ack(sent[100:]...)
			for i := range subflows { // each reports its share of the hundred
				s.lose(sent[i*100/subflows : (i+1)*100/subflows]...)
				s.advance(10 * time.Microsecond)
			}
			s.want("reductions", s.losses, flight)
		}
		_, lost := s.p.Totals()
		s.want("octets lost", int(lost), 200*testMTU)
	}
}

func TestMarkIsLikeALoss(t *testing.T) {
	s := play(t)
	a, b := s.send(), s.send()
	s.advance(20 * time.Millisecond)
	s.p.Acked(s.now, a, testMTU, false)
	s.p.Marked(s.now, a.SentAt)
	s.p.Done(s.now)
	s.want("marks", s.marks, 1)
	s.lose(b)
	s.want("a loss of the same flight", s.losses, 0)
	s.p.Marked(s.now, b.SentAt)
	s.p.Done(s.now)
	s.want("a mark of the same flight", s.marks, 1)
}

func TestTimeout(t *testing.T) {
	t.Run("while later packets arrive it is a loss", func(t *testing.T) {
		s := play(t)
		s.trip(50 * time.Millisecond)
		old := s.send()
		s.advance(100 * time.Millisecond)
		later := s.send()
		s.advance(150 * time.Millisecond)
		s.ack(later)
		s.p.Timeout(s.now, old)
		s.want("losses", s.losses, 1)
		s.want("timeouts", s.timeouts, 0)
		s.lose(old)
		s.want("losses, told twice", s.losses, 1)
	})
	t.Run("while the path was heard it is nothing", func(t *testing.T) {
		s := play(t)
		s.trip(50 * time.Millisecond)
		old := s.send()
		s.advance(150 * time.Millisecond)
		s.p.Heard(s.now)
		s.advance(100 * time.Millisecond)
		s.p.Timeout(s.now, old)
		s.want("losses and timeouts", s.losses+s.timeouts, 0)
	})
	t.Run("of a silent path it is one, however many subflows report it", func(t *testing.T) {
		s := play(t)
		s.trip(50 * time.Millisecond)
		var sent []Stamp
		for range 100 {
			sent = append(sent, s.send())
		}
		s.advance(s.p.RTO())
		for _, st := range sent {
			s.p.Timeout(s.now, st)
			s.lose(st)
			s.advance(time.Microsecond)
		}
		s.want("timeouts", s.timeouts, 1)
		s.want("losses", s.losses, 0)
		again := s.send()
		s.advance(s.p.RTO())
		s.p.Timeout(s.now, again)
		s.want("timeouts of what was sent after it", s.timeouts, 2)
	})
}

func TestSpurious(t *testing.T) {
	s := play(t)
	a, b, c := s.send(), s.send(), s.send()
	s.advance(20 * time.Millisecond)
	s.ack(c)
	s.lose(a)
	s.lose(b)
	s.p.Spurious(s.now, testMTU)
	s.want("undone while one is lost", s.undos, 0)
	s.p.Spurious(s.now, testMTU)
	s.want("undone", s.undos, 1)
	s.p.Spurious(s.now, testMTU)
	s.want("undone twice", s.undos, 1)
	_, lost := s.p.Totals()
	s.want("octets lost", int(lost), 0)
}

func TestSuspect(t *testing.T) {
	s := play(t)
	for range 100 {
		s.trip(40 * time.Millisecond)
	}
	s.advance(time.Hour)
	if s.p.Suspect(s.now) || s.p.SuspectAt() != clock.Never {
		t.Error("suspect though nothing is outstanding")
	}
	st := s.send()
	if want := s.now.Add(65 * time.Millisecond); s.p.SuspectAt().Sub(want).Abs() > time.Millisecond {
		t.Errorf("suspect at %v, want %v", s.p.SuspectAt(), want)
	}
	s.advance(64 * time.Millisecond)
	if s.p.Suspect(s.now) {
		t.Error("suspect too early")
	}
	s.advance(2 * time.Millisecond)
	if !s.p.Suspect(s.now) {
		t.Error("not suspect")
	}
	s.lose(st)
	if s.advance(time.Second); !s.p.Suspect(s.now) {
		t.Error("not suspect once what was outstanding is given up")
	}
	s.p.Heard(s.now)
	if s.p.Suspect(s.now) {
		t.Error("suspect though heard")
	}
}

func TestDeliveryRate(t *testing.T) {
	s := play(t)
	var sent []Stamp
	for i := range 60 { // a packet each millisecond, 20 ms to arrive
		sent = append(sent, s.send())
		s.advance(time.Millisecond)
		if i >= 20 {
			s.ack(sent[i-20])
		}
	}
	if got, want := s.p.Rate(s.now), testMTU*1000; got < want*99/100 || got > want*101/100 {
		t.Errorf("rate %d, want about %d", got, want)
	}
	s.ack(sent[40:]...)
	before := s.p.Rate(s.now)
	for range 50 { // little to send: slow samples say nothing
		s.p.Starved()
		s.trip(20 * time.Millisecond)
	}
	s.want("rate after little was sent", s.p.Rate(s.now), before)
	if !s.last.AppLimited {
		t.Error("sample not marked")
	}
	s.window = testMTU
	st := s.send()
	s.p.Starved()
	s.advance(20 * time.Millisecond)
	s.ack(st)
	s.trip(20 * time.Millisecond)
	if s.last.AppLimited {
		t.Error("marked although the window was full")
	}
}

// What a path carried while there was little to send is no rate: until there was more, window over round trip is.
func TestDeliveryRateOfCrumbs(t *testing.T) {
	s := play(t)
	for range 5 {
		s.p.Starved()
		s.trip(100 * time.Millisecond)
	}
	s.want("rate", s.p.Rate(s.now), s.window*10)
	for range 5 { // and with enough to send it is what arrives
		first, second := s.send(), s.send()
		s.advance(100 * time.Millisecond)
		s.ack(first, second)
	}
	s.want("rate when there was more", s.p.Rate(s.now), 2*testMTU*10)
	s.p.Starved()
	s.trip(100 * time.Millisecond)
	s.want("rate after little was sent", s.p.Rate(s.now), 2*testMTU*10)
}

// A low rate holds for five seconds in which nothing arrives, a high one for ever.
func TestDeliveryRateGetsOld(t *testing.T) {
	s := play(t)
	s.trip(100 * time.Millisecond)
	s.want("rate", s.p.Rate(s.now), testMTU*10)
	s.advance(rateHolds)
	s.want("rate five seconds later", s.p.Rate(s.now), testMTU*10)
	s.advance(1)
	s.want("rate after them", s.p.Rate(s.now), s.window*10)
	st := s.send()
	s.advance(200 * time.Millisecond)
	s.ack(st)
	s.want("rate of the next packet", s.p.Rate(s.now), testMTU*5)
	var sent []Stamp
	for range 100 {
		sent = append(sent, s.send())
	}
	s.advance(200 * time.Millisecond)
	s.ack(sent...)
	s.advance(time.Hour)
	s.want("high rate after an hour", s.p.Rate(s.now), 100*testMTU*5)
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	for _, control := range []string{"cubic", "bbr", "reno"} {
		c, _ := NewControl(control, testMTU)
		p, now := New(c, testMTU), second
		if n := testing.AllocsPerRun(1000, func() {
			st := p.Sent(now, testMTU)
			now = now.Add(10 * time.Millisecond)
			p.Acked(now, st, testMTU, false)
			p.Done(now)
			p.Room(now)
		}); n != 0 {
			t.Errorf("%s: %v allocations a packet", control, n)
		}
	}
}

func TestSizes(t *testing.T) {
	if n := unsafe.Sizeof(Path{}); n > 584 {
		t.Errorf("a path takes %d octets", n)
	}
	if n := unsafe.Sizeof(Stamp{}); n > 64 {
		t.Errorf("a stamp takes %d octets", n)
	}
}

// A packet that was retransmitted and then acknowledged sooner than any round trip gives no rate.
func TestNoRateBelowTheRoundTrip(t *testing.T) {
	s := play(t)
	s.trip(20 * time.Millisecond)
	before := s.p.Rate(s.now)
	st := s.send()
	s.advance(time.Millisecond)
	s.p.Acked(s.now, st, testMTU, true)
	s.p.Done(s.now)
	s.want("rate sample", s.last.Rate, 0)
	s.want("rate", s.p.Rate(s.now), before)
	s.want("round trip", int(s.last.RTT), 0)
}

// What was judged lost and arrives counts as delivered; it is no longer in flight.
func TestLate(t *testing.T) {
	s := play(t)
	a, b := s.send(), s.send()
	s.lose(a)
	s.advance(10 * time.Millisecond)
	s.p.Late(s.now, a, testMTU, false)
	s.p.Done(s.now)
	delivered, lost := s.p.Totals()
	s.want("delivered", int(delivered), testMTU)
	s.want("lost", int(lost), 0)
	s.want("told", s.last.Acked, testMTU)
	s.want("in flight", s.p.Inflight(), testMTU)
	s.want("undone", s.undos, 1)
	s.ack(b)
	s.want("in flight", s.p.Inflight(), 0)
}

// A sample of the rate is never 0, however slow the path.
func TestSlowestRate(t *testing.T) {
	s := play(t)
	st := s.p.Sent(s.now, 1)
	s.advance(3 * time.Second)
	s.p.Acked(s.now, st, 1, false)
	s.p.Done(s.now)
	s.want("rate", s.last.Rate, 1)
}
