package mptcp

import (
	"fmt"
	"strings"
	"time"

	"tandem/engine/clock"
)

// traceLen is how many events a connection remembers: enough for its start or its end.
const traceLen = 32

// trace is the last events of a connection.
type trace struct {
	events []event // a ring once full
	next   int
}

type event struct {
	at   clock.Time
	arg  uint64
	kind eventKind
	path PathID
	text string
}

type eventKind uint8

const (
	evOpen eventKind = iota
	evSubflow
	evJoin
	evJoined
	evGone
	evReset
	evPeerReset
	evSuspect
	evBack
	evDead
	evLate
	evOrphaned
	evAddress
	evRemove
	evPrio
	evPeerFin
	evFastClose
	evFallback
	evCorrupt
	evEnded
	evHeld
	evEstablish
	evWon
	evCap
	evInactivity
	evInactive
	evRateLimit
	evBackup
	evLeave
	evLeaving
	evFastOpen
	evNote
)

// eventTexts are formats of path and argument.
var eventTexts = [...]string{
	evOpen:       "open%.0d%.0d",
	evSubflow:    "path %d: TCP established%.0d",
	evJoin:       "path %d: MP_JOIN to address %d",
	evJoined:     "path %d: joined%.0d",
	evGone:       "path %d: subflow ended, %d octets acknowledged",
	evReset:      "path %d: reset, reason %d",
	evPeerReset:  "path %d: reset by peer, reason %d",
	evSuspect:    "path %d: silent with %d octets outstanding",
	evBack:       "path %d: heard again%.0d",
	evDead:       "path %d: no answer after REMOVE_ADDR%.0d",
	evLate:       "no DATA_ACK%.0d: sending again from %d",
	evOrphaned:   "no subflow left%.0d%.0d",
	evAddress:    "path %d: ADD_ADDR %d",
	evRemove:     "path %d: REMOVE_ADDR %d",
	evPrio:       "path %d: MP_PRIO%.0d",
	evPeerFin:    "DATA_FIN of the peer%.0d at %d",
	evFastClose:  "MP_FASTCLOSE of the peer%.0d%.0d",
	evFallback:   "path %d: fallback to TCP%.0d",
	evCorrupt:    "path %d: DSS checksum wrong at %d",
	evEnded:      "ended%.0d%.0d",
	evHeld:       "path %d: the peer holds the offer%.0d",
	evEstablish:  "%.0dSYN over %d paths, ",
	evWon:        "path %d: answered first of %d",
	evCap:        "path %d: MP_JOIN_CAP of address %d",
	evInactivity: "the peer%.0d may be idle for %d s",
	evInactive:   "idle%.0d for %d s",
	evRateLimit:  "path %d: the peer asks for at most %d kbit/s",
	evBackup:     "path %d: MP_PRIO for subflow %d",
	evLeave:      "path %d: subflow %d closed as asked",
	evLeaving:    "path %d: to be left, its address ends in %d ms",
	evFastOpen:   "path %d: %d octets rode in the SYN",
	evNote:       "%.0d%.0d",
}

func (t *trace) add(now clock.Time, kind eventKind, path PathID, arg uint64) {
	t.put(event{at: now, kind: kind, path: path, arg: arg})
}

// note remembers a sentence.
func (t *trace) note(now clock.Time, text string) { t.put(event{at: now, kind: evNote, text: text}) }

func (t *trace) put(e event) {
	if len(t.events) < traceLen {
		t.events = append(t.events, e)
		return
	}
	t.events[t.next] = e
	t.next = (t.next + 1) % traceLen
}

// Trace returns the connection's last events as text, one a line.
func (c *Conn) Trace() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%v > %v\n", c.source, c.target)
	for i := range c.trace.events {
		e := &c.trace.events[(c.trace.next+i)%len(c.trace.events)]
		fmt.Fprintf(&s, "%12v ", time.Duration(e.at))
		fmt.Fprintf(&s, eventTexts[e.kind], e.path, e.arg)
		s.WriteString(e.text)
		s.WriteByte('\n')
	}
	return s.String()
}
