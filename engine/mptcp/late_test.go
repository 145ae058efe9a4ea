package mptcp

import "testing"

// What its holder alone could carry keeps back nothing that another had, which is gone.
func TestLateOctetsOfTheLastSubflow(t *testing.T) {
	s := joined(t, Config{}, 2)
	s.recv("0 . 1 ack 1 <dss ack8 1, prio backup>")
	s.write("hello")
	s.want(`1 . 1 ack 1 "hello" <dss ack4 1 map4 1 ssn 1 len 5>`)
	s.recv("0 . 1 ack 1 <dss ack8 1, prio>", "1 . 1 ack 1 <dss ack8 1, prio backup>")
	s.write("world")
	s.want(`0 . 1 ack 1 "world" <dss ack4 1 map4 6 ssn 1 len 5>`)
	s.advance(30 * second)
	s.skip()
	s.recv("1 R. 1 ack 1", "0 . 1 ack 6 <dss ack8 1>")
	s.want(`0 . 6 ack 1 "hello" <dss ack4 1 map4 1 ssn 6 len 5>`)
}
