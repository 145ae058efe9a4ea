package path

import (
	"time"

	"tandem/engine/clock"
)

// A Control is a congestion controller. It hears what happened on one path and says how much may
// be in flight and how fast it may leave.
type Control interface {
	OnSent(now clock.Time, bytes, inflight int, appLimited bool)
	OnAck(Sample)  // every report, after OnLoss and OnECN; Acked is 0 if it told of losses only
	OnLoss(Sample) // at most once per round trip, for packets sent after the last reduction
	OnECN(Sample)  // likewise
	OnSpurious()   // what the last OnLoss or OnTimeout reported as lost had arrived
	OnTimeout(now clock.Time)
	Window() int             // octets
	Pace() (bytesPerSec int) // 0: unpaced
}

// A Sample is what one acknowledgement, or one loss, told about the path.
type Sample struct {
	Now            clock.Time
	SentAt         clock.Time    // when the newest packet it speaks of was sent
	RTT            time.Duration // of that packet; 0 when it was retransmitted, or its acknowledgement was delayed
	RTTMin         time.Duration // smallest of the last ten seconds
	RTTSmooth      time.Duration
	Acked          int   // octets newly delivered
	Lost           int   // octets newly lost
	Inflight       int   // octets in flight, after
	Prior          int   // octets in flight, before
	Sent           int   // octets in flight when that packet was sent, including it
	Delivered      int64 // path totals, now
	LostTotal      int64
	PriorDelivered int64 // path totals when that packet was sent
	PriorLost      int64
	Rate           int  // delivery rate, octets a second; 0: no sample (draft-cheng-iccrg-delivery-rate-estimation)
	AppLimited     bool // the rate was limited by what there was to send
}

// NewControl returns the controller of that name for one path: "bbr", "cubic" or "reno". ok is
// false for other names; those that couple several paths come from NewGroup.
func NewControl(name string, mtu int) (c Control, ok bool) {
	switch name {
	case "bbr":
		return newBBR(mtu), true
	case "cubic":
		return newCubic(mtu), true
	case "reno":
		return newReno(mtu), true
	}
	return nil, false
}

// initialWindow is that of RFC 6928 for the sizes of today.
func initialWindow(mtu int) int { return 10 * mtu }
