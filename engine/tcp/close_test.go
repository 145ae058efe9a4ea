package tcp

import (
	"fmt"
	"testing"
)

// RFC 9293 3.6, figure 12: an orderly close from this side, with data still coming in between.
func TestActiveClose(t *testing.T) {
	s := established(t, "", func(c *Config) { c.TimeWait = 30 * second })
	s.push(100)
	s.sub.Close(s.now)
	s.wantState(FinWait1, nil)
	s.want("FP. 1:101 ack 1")
	s.recv(". 1 ack 102")
	s.wantState(FinWait2, nil)
	s.recv(". 1:101 ack 102")
	s.recv(". 101:201 ack 102")
	s.want(". 102 ack 201")
	s.wantGot(200)
	s.recv("F. 201:301 ack 102")
	s.wantState(TimeWait, nil)
	s.want(". 102 ack 302")
	s.advance(20 * second)
	s.recv("F. 201:301 ack 102")
	s.want(". 102 ack 302 <sack 201:301>")
	s.advance(30*second - 1)
	s.wantState(TimeWait, nil)
	s.advance(1)
	s.wantState(Closed, nil)
}

// A peer that never closes is waited for only while somebody reads.
func TestAbandon(t *testing.T) {
	for _, acked := range []bool{false, true} { // before Abandon
		s := established(t, "", func(c *Config) { c.TimeWait = 30 * second })
		s.sub.Close(s.now)
		s.want("F. 1 ack 1")
		if acked {
			s.recv(". 1 ack 2")
			s.advance(100 * second)
			s.wantState(FinWait2, nil)
			s.sub.Abandon(s.now)
		} else {
			s.sub.Abandon(s.now)
			s.recv(". 1 ack 2")
		}
		s.advance(20 * second)
		s.sub.Abandon(s.now)
		s.advance(10*second - 1)
		s.wantState(FinWait2, nil)
		s.advance(1)
		s.wantState(Closed, nil)
		if s.changes[len(s.changes)-1] != Closed {
			t.Error("nobody was told")
		}
	}
}

// RFC 1337: a reset does not cut TIME-WAIT short.
func TestResetInTimeWait(t *testing.T) {
	s := established(t, "", nil)
	s.sub.Close(s.now)
	s.transmit()
	s.recv("F. 1 ack 2")
	s.transmit()
	s.recv("R 2")
	s.wantState(TimeWait, nil)
	s.want()
}

// RFC 9293 3.6: the peer closes first; this side goes on sending.
func TestPassiveClose(t *testing.T) {
	s := established(t, "", nil)
	s.recv("F. 1:101 ack 1")
	s.wantState(CloseWait, nil)
	s.want(". 1 ack 102")
	s.push(2000)
	s.want(". 1:1401 ack 102", "P. 1401:2001 ack 102")
	s.sub.Close(s.now)
	s.wantState(LastAck, nil)
	s.want("F. 2001 ack 102")
	s.recv(". 102 ack 2001")
	s.wantState(LastAck, nil)
	s.recv(". 102 ack 2002")
	s.wantState(Closed, nil)
	s.want()
	if fmt.Sprint(s.changes) != fmt.Sprint([]State{Established, CloseWait, Closed}) {
		t.Errorf("changes %v", s.changes)
	}
}

// RFC 9293 3.6, figure 13.
func TestSimultaneousClose(t *testing.T) {
	s := established(t, "", nil)
	s.sub.Close(s.now)
	s.want("F. 1 ack 1")
	s.recv("F. 1 ack 1")
	s.wantState(Closing, nil)
	s.want(". 2 ack 2")
	s.recv(". 2 ack 2")
	s.wantState(TimeWait, nil)
}

func TestFinAndItsAckTogether(t *testing.T) {
	s := established(t, "", nil)
	s.sub.Close(s.now)
	s.want("F. 1 ack 1")
	s.recv("F. 1 ack 2")
	s.wantState(TimeWait, nil)
	s.want(". 2 ack 2")
}

// A FIN that overtook data counts when they have come.
func TestFinOutOfOrder(t *testing.T) {
	s := established(t, "", nil)
	s.recv("F. 101:201 ack 1")
	s.wantState(Established, nil)
	s.want(". 1 ack 1 <sack 101:201>")
	s.recv(". 201:301 ack 1") // beyond the end
	s.wantGot(100)
	s.recv(". 1:101 ack 1")
	s.wantState(CloseWait, nil)
	s.want(". 1 ack 202")
}

// A FIN below what has come is none.
func TestFinBeforeData(t *testing.T) {
	s := established(t, "", nil)
	s.recv(". 101:201 ack 1")
	s.recv("F. 51 ack 1")
	s.recv(". 1:101 ack 1")
	s.wantState(Established, nil)
	s.wantGot(200)
}

func TestFinIsRepeated(t *testing.T) {
	s := established(t, "", nil)
	s.push(100)
	s.want("P. 1:101 ack 1")
	s.sub.Close(s.now)
	s.want("F. 101 ack 1")
	s.advance(second)
	s.want("F. 101 ack 1") // tail loss probe
	s.advance(100 * ms)
	s.recv(". 1 ack 1 <sack 101:102>")
	s.want(". 1:101 ack 1")
	s.recv(". 1 ack 102")
	s.wantState(FinWait2, nil)
}

// RFC 9293 3.10.4: a close in SYN-SENT waits for what was pushed; without that there is nothing to close.
func TestCloseBeforeTheHandshakeEnds(t *testing.T) {
	s := newScript(t, nil)
	s.sub.Close(s.now)
	s.wantState(Closed, ErrAborted)
	s = newScript(t, nil)
	s.push(10)
	s.sub.Close(s.now)
	s.want("S 0 win 65535 <mss 1400,sackOK,ws 8>")
	s.recv("S. 0 ack 1 <mss 1400>")
	s.wantState(FinWait1, nil)
	s.want("FP. 1:11 ack 1")
}

// RFC 9293 3.10.5: an abort is one RST.
func TestAbort(t *testing.T) {
	s := established(t, "", nil)
	s.push(3000)
	s.want(". 1:1401 ack 1", ". 1401:2801 ack 1", "P. 2801:3001 ack 1")
	s.recv(". 1:101 ack 1")
	s.sub.Reset(s.now)
	s.wantState(Closed, ErrAborted)
	s.want("R. 3001 ack 101 win 0")
	s.want()
	s.recv(". 101:201 ack 3001")
	s.want()
	if s.path.Inflight() != 0 {
		t.Errorf("%d octets in flight", s.path.Inflight())
	}
	if s.changes[len(s.changes)-1] == Closed {
		t.Error("told of what the owner did itself")
	}
}

func TestAbortInSynSentWithdrawsTheSyn(t *testing.T) {
	s := newScript(t, nil)
	s.sub.Reset(s.now)
	s.want()
	s = newScript(t, nil)
	s.transmit()
	s.sub.Reset(s.now)
	s.want("R 1 win 0")
}

func TestAbortAfterSynAck(t *testing.T) {
	s := listening(t, "S 0", nil)
	s.sub.Answer(s.now)
	s.transmit()
	s.sub.Reset(s.now)
	s.want("R. 1 ack 1 win 0")
}

func TestDrop(t *testing.T) {
	s := established(t, "", nil)
	s.push(10)
	s.transmit()
	s.sub.Drop(s.now)
	s.want()
	s.wantState(Closed, ErrAborted)
	if s.path.Inflight() != 0 {
		t.Error("still in flight")
	}
}
