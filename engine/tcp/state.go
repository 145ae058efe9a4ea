package tcp

// stateNames are the names of RFC 9293 3.3.2.
var stateNames = [...]string{
	Closed: "CLOSED", SynSent: "SYN-SENT", SynReceived: "SYN-RECEIVED", Established: "ESTABLISHED",
	FinWait1: "FIN-WAIT-1", FinWait2: "FIN-WAIT-2", CloseWait: "CLOSE-WAIT",
	Closing: "CLOSING", LastAck: "LAST-ACK", TimeWait: "TIME-WAIT",
}

// String returns the name of the state.
func (s State) String() string { return stateNames[s] }
