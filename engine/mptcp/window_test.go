package mptcp

import "testing"

// A window that is known to be open from another subflow is asked for on the one where the news was lost: at once,
// and no more often than an answer takes.
func TestWindowOfTheOtherSubflow(t *testing.T) {
	s := withWindow(t, "5")
	s.write("0123456789")
	s.want(`0 . 1 ack 1 "01234" <dss ack4 1 map4 1 ssn 1 len 5>`)
	s.recv("0 . 1 ack 6 win 0 <dss ack8 6>")
	s.want()
	s.recv("1 . 1 ack 1 win 5 <dss ack8 6>")
	s.want("0 . 5 ack 1 <dss ack4 1>")
	s.recv("1 . 1 ack 1 win 6 <dss ack8 6>")
	s.want()
	s.recv("0 . 1 ack 6 win 5 <dss ack8 6>")
	s.want(`0 . 6 ack 1 "56789" <dss ack4 1 map4 6 ssn 6 len 5>`)
}

// That question may be lost as well: it is repeated, beside the one over the subflow that speaks for the connection.
func TestWindowIsAskedForAgain(t *testing.T) {
	s := withWindow(t, "5")
	s.recv("0 . 1 ack 1 win 5 <dss ack8 1, prio backup>", "1 . 1 ack 1 win 5 <dss ack8 1, prio primary>")
	s.write("0123456789")
	s.want(`1 . 1 ack 1 "01234" <dss ack4 1 map4 1 ssn 1 len 5>`)
	s.recv("1 . 1 ack 6 win 0 <dss ack8 6>")
	s.recv("0 . 1 ack 1 win 5 <dss ack8 6>")
	s.want("1 . 5 ack 1 <dss ack4 1>")
	s.advance(second)
	s.want("1 . 5 ack 1 <dss ack4 1>", "0 . 0 ack 1 <dss ack4 1>")
	s.recv("1 . 1 ack 6 win 5 <dss ack8 6>")
	s.want(`1 . 6 ack 1 "56789" <dss ack4 1 map4 6 ssn 6 len 5>`)
}
