package sim

import (
	"strings"
	"testing"
	"time"

	"tandem/engine/clock"
	"tandem/engine/mptcp"
)

// used is two clean paths between strangers and enough to carry for a second or two; the connection begins over the first.
func used() *Scenario {
	c := shortScenario(false, EachWhenDone)
	c.Client.Establish = mptcp.Classic
	c.Plans[0].Up, c.Plans[0].Down = 4e6, 4e6
	return c
}

// What users do to subflows is done at both ends while octets move, and all of them come.
func TestOperationsAreDone(t *testing.T) {
	at := func(n int) clock.Time { return clock.Time(n) * clock.Time(100*time.Millisecond) }
	for _, x := range []struct {
		name   string
		done   []Operation
		joins  joinCount
		closes bool
	}{
		{"nothing", nil, 1, false},
		{"removed", []Operation{{At: at(3), What: RemovesPath, Path: 1}}, 1, true},
		{"closed and added", []Operation{{At: at(3), What: ClosesOne, Which: 7, How: mptcp.ByReset}, {At: at(6), What: AddsPath, Path: 1}}, 2, true},
		{"closed and opened", []Operation{{At: at(3), What: ClosesOne, Which: 7, How: mptcp.ByReset}, {At: at(6), What: Opens, Path: 1}}, 2, true},
		{"spared there", []Operation{{At: at(3), Far: true, What: Prioritizes, Which: 7, Backup: true}}, 1, false},
	} {
		c, joins := used(), joinCount(0)
		c.Operations = x.done
		s := NewStage(c)
		s.Tap(&joins)
		if err := play(s); err != nil {
			t.Fatalf("%s: %v", x.name, err)
		}
		trace := s.Client.Streams[0].Conn.Trace()
		if closed := strings.Contains(trace, "closed as asked"); joins != x.joins || closed != x.closes {
			t.Errorf("%s: %d joins, want %d\n%s", x.name, joins, x.joins, trace)
		}
	}
}

// A proxy that packets pass answers in others' names, and is joined where it says that it is.
func TestProxyIsJoined(t *testing.T) {
	c, joins := used(), joinCount(0)
	c.drawProxy()
	s := NewStage(c)
	s.Tap(&joins)
	if err := play(s); err != nil {
		t.Fatal(err)
	}
	trace := s.Client.Streams[0].Conn.Trace()
	if s.Client.Streams[0].Conn.Target().Addr() != proxied4 || joins != 1 || !strings.Contains(trace, "path 1: joined") {
		t.Errorf("%d joins\n%s", joins, trace)
	}
}
