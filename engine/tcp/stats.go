package tcp

// Stats counts what happened on a subflow.
type Stats struct {
	SegmentsIn, SegmentsOut uint64 // of any kind
	OctetsIn, OctetsOut     uint64 // of payload, each once
	Retransmits             uint32 // segments with data or FIN that left again
	Timeouts                uint32 // firings of the retransmission timer
	Spurious                uint32 // retransmissions and timeouts that turned out to have been needless
	DupAcks                 uint32
	Dropped                 uint32 // segments that came and were not acceptable
}

// Stats returns the counters.
func (s *Subflow) Stats() Stats { return s.stats }
