package mptcp

import "net/netip"

// A SubflowEvent is what happened to a subflow, or to all that there is of a connection.
type SubflowEvent struct {
	Kind               SubflowEventKind
	Subflow            SubflowID
	Path               PathID
	Local, Remote      netip.AddrPort
	Backup, PeerBackup bool   // what each end wishes now
	Err                error  // SubflowRemoved: why it ended; nil: in order
	Missed             uint64 // events that were lost right before this one
}

// SubflowEventKind says what happened.
type SubflowEventKind uint8

// The events of a subflow.
const (
	SubflowAdded       SubflowEventKind = 1 + iota // a SYN leaves, or came
	SubflowEstablished                             // it may carry data
	SubflowPriority                                // either end wishes it spared, or not any more
	SubflowRemoved                                 // it ended
	FellBack                                       // the connection is one of TCP from now on, over this one
)

var subflowEventNames = [...]string{
	SubflowAdded: "added", SubflowEstablished: "established", SubflowPriority: "priority", SubflowRemoved: "removed", FellBack: "fallback",
}

// String names the kind.
func (k SubflowEventKind) String() string {
	if int(k) < len(subflowEventNames) {
		return subflowEventNames[k]
	}
	return "unknown"
}

// watchMax bounds the events of a connection that wait for NextSubflowEvent.
const watchMax = 64

// watch is the events that wait, oldest first.
type watch struct{ events []SubflowEvent }

// Watch has the connection remember what happens to its subflows, beginning with those that there are. Next tells
// of it with News.
func (c *Conn) Watch() {
	if c.watch != nil || c.phase == over {
		return
	}
	c.watch = new(watch)
	for _, f := range c.subflows {
		if !f.live() {
			continue
		}
		f.report(SubflowAdded)
		if c.phase == open && c.plain() {
			f.report(FellBack)
		}
		if f.ready {
			f.report(SubflowEstablished)
		}
	}
}

// NextSubflowEvent returns the oldest event not returned yet. Of more than 64 the oldest are lost.
func (c *Conn) NextSubflowEvent() (SubflowEvent, bool) {
	if c.watch == nil || len(c.watch.events) == 0 {
		return SubflowEvent{}, false
	}
	e := c.watch.events[0]
	c.watch.events = c.watch.events[:copy(c.watch.events, c.watch.events[1:])]
	return e, true
}

// report remembers what happened, if somebody watches.
func (f *subflow) report(kind SubflowEventKind) {
	c := f.c
	if c.watch == nil || c.phase == over {
		return
	}
	e := SubflowEvent{
		Kind: kind, Subflow: f.id, Path: f.path.id, Local: f.tcp.Config().Local, Remote: f.tcp.Config().Remote,
		Backup: f.backup, PeerBackup: f.peerBackup,
	}
	if kind == SubflowRemoved {
		e.Err = f.ending()
	}
	w := c.watch
	if len(w.events) == watchMax {
		lost := 1 + w.events[0].Missed
		w.events = w.events[:copy(w.events, w.events[1:])]
		w.events[0].Missed += lost
		c.b.counters.LimitEvents++
	}
	w.events = append(w.events, e)
	c.tell(News)
}

// ending says why the subflow ended.
func (f *subflow) ending() error {
	if f.tcp.Err() == nil {
		return nil
	}
	return reason(f)
}

// ended reports, once, that the subflow can move nothing any more.
func (f *subflow) ended() {
	if !f.told {
		f.told = true
		f.report(SubflowRemoved)
	}
}
