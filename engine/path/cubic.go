package path

import (
	"math"
	"time"

	"tandem/engine/clock"
)

// Constants of RFC 9438 4.1 and 4.3.
const (
	cubicC     = 0.4
	cubicBeta  = 0.7
	cubicAlpha = 3 * (1 - cubicBeta) / (1 + cubicBeta)
)

// cubic is RFC 9438. Its curve counts in segments and seconds.
type cubic struct {
	window
	wMax     float64 // where the last reduction began, segments; 0: none, or a timeout
	prior    float64 // window before the last reduction
	wEst     float64 // what Reno would have reached
	k        float64 // seconds from the epoch to wMax
	running  bool    // an epoch has begun
	epoch    clock.Time
	lastAck  clock.Time
	undoWMax float64
}

func newCubic(mtu int) *cubic { return &cubic{window: newWindow(mtu)} }

func (c *cubic) segments() float64 { return float64(c.cwnd) / float64(c.mtu) }

func (c *cubic) OnAck(s Sample) {
	acked := c.hear(s)
	idle := s.Now.Sub(c.lastAck)
	c.lastAck = s.Now
	switch {
	case c.prr.on || c.slow():
		c.running = false
	case acked > 0:
		c.follow(s, acked)
	case c.running && s.Acked > 0:
		c.epoch = c.epoch.Add(idle) // time in which the window was not used does not count (RFC 9438 5.8)
	}
}

// follow raises the window along the curve (RFC 9438 4.2 to 4.5).
func (c *cubic) follow(s Sample, acked int) {
	w := c.segments()
	if !c.running {
		c.begin(s.Now, w)
	}
	n := float64(acked) / float64(c.mtu)
	alpha := cubicAlpha
	if c.wEst >= c.prior {
		alpha = 1
	}
	c.wEst += float64(alpha * n / w)
	t := s.Now.Sub(c.epoch)
	if c.at(t) < c.wEst {
		c.raise(float64(max(c.wEst-w, 0) * float64(c.mtu)))
		return
	}
	target := min(max(c.at(t+s.RTTSmooth), w), float64(1.5*w))
	c.raise(float64((target - w) / w * float64(acked)))
}

func (c *cubic) begin(now clock.Time, w float64) {
	c.running, c.epoch, c.wEst, c.k = true, now, w, 0
	if w < c.wMax {
		c.k = math.Cbrt((c.wMax - w) / cubicC)
	} else {
		c.wMax = w
	}
}

// at is W_cubic, t after the epoch began.
func (c *cubic) at(t time.Duration) float64 {
	d := t.Seconds() - c.k
	return float64(cubicC*d*d*d) + c.wMax
}

func (c *cubic) OnLoss(s Sample) { c.fallBack(); c.reduce(s, c.target()) }
func (c *cubic) OnECN(s Sample)  { c.OnLoss(s) }

// fallBack notes where the curve shall level out: below this reduction if the last one was higher,
// since somebody else has come (fast convergence, RFC 9438 4.7).
func (c *cubic) fallBack() {
	w := float64(c.base()) / float64(c.mtu)
	c.undoWMax = c.wMax
	if w < c.wMax {
		c.wMax = w * (1 + cubicBeta) / 2
	} else {
		c.wMax = w
	}
	c.prior, c.running = w, false
}

func (c *cubic) target() int { return int(float64(c.base()) * cubicBeta) }

func (c *cubic) OnTimeout(clock.Time) {
	if !c.timedOut {
		c.fallBack()
	}
	c.collapse(c.target())
	c.wMax = 0
}

func (c *cubic) OnSpurious() {
	if c.savedCwnd > 0 {
		c.wMax = c.undoWMax
	}
	c.window.OnSpurious()
	c.running = false
}
