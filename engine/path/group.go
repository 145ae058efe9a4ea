package path

import "tandem/engine/clock"

// A Group couples the controllers of several paths whose subflows belong to one connection, so that
// together they take no more of a shared bottleneck than one TCP would (RFC 6356).
type Group struct {
	law     law
	members []*member
}

// law is what tells the coupled controllers apart. Both functions speak of windows in segments.
type law struct {
	rise func(g *Group, m *member) float64 // by how much one segment acknowledged raises the window
	fall func(g *Group, m *member) float64 // share of the window that a loss takes
}

// NewGroup returns an empty group governed by "lia" (RFC 6356), "olia" or "balia". ok is false for
// other names.
func NewGroup(name string) (g *Group, ok bool) {
	switch name {
	case "lia":
		return &Group{law: law{lia, half}}, true
	case "olia":
		return &Group{law: law{olia, half}}, true
	case "balia":
		return &Group{law: law{baliaRise, baliaFall}}, true
	}
	return nil, false
}

// Control returns a new member's controller. A member that is alone, or in slow start, behaves as Reno.
func (g *Group) Control(mtu int) Control {
	m := &member{window: newWindow(mtu), group: g}
	g.members = append(g.members, m)
	return m
}

// Adopt takes the controller of another group over: its subflow belongs to this connection from now on. What it has
// learnt stays. Controllers that are of no group are left alone.
func (g *Group) Adopt(c Control) {
	m, ok := c.(*member)
	if !ok || m.group == g {
		return
	}
	m.group.Leave(m)
	m.group = g
	g.members = append(g.members, m)
}

// Leave takes c out of the group: its subflow has ended.
func (g *Group) Leave(c Control) {
	for i, m := range g.members {
		if m == c {
			g.members = append(g.members[:i], g.members[i+1:]...)
			return
		}
	}
}

// member is the controller of one path in a group.
type member struct {
	window
	group           *Group
	sinceLoss, prev int64 // octets acknowledged since the last loss, between the two before
}

func (m *member) OnAck(s Sample) {
	m.sinceLoss += int64(s.Acked)
	acked := m.hear(s)
	switch {
	case acked == 0:
	case m.alone():
		m.raise(m.reno(acked))
	default:
		m.raise(float64(m.group.law.rise(m.group, m) * float64(acked)))
	}
}

func (m *member) OnLoss(s Sample) { m.reduce(s, m.fallen()); m.prev, m.sinceLoss = m.sinceLoss, 0 }
func (m *member) OnECN(s Sample)  { m.OnLoss(s) }

func (m *member) OnTimeout(clock.Time) {
	m.collapse(m.fallen())
	m.prev, m.sinceLoss = m.sinceLoss, 0
}

func (m *member) fallen() int {
	if m.alone() {
		return m.base() / 2
	}
	return int(float64(m.base()) * (1 - m.group.law.fall(m.group, m)))
}

// alone reports whether there is nobody to be coupled with: members without a round trip do not count.
func (m *member) alone() bool {
	if m.srtt <= 0 {
		return true
	}
	for _, o := range m.group.members {
		if o != m && o.srtt > 0 {
			return false
		}
	}
	return true
}

// w is the window in segments, r the round trip in seconds, x the rate.
func (m *member) w() float64 { return float64(m.base()) / float64(m.mtu) }
func (m *member) r() float64 { return m.srtt.Seconds() }
func (m *member) x() float64 { return m.w() / m.r() }

// sum adds f over the members that have a round trip.
func (g *Group) sum(f func(*member) float64) (total float64) {
	for _, m := range g.members {
		if m.srtt > 0 {
			total += f(m)
		}
	}
	return total
}

// most returns the largest f of the members that have a round trip.
func (g *Group) most(f func(*member) float64) (largest float64) {
	for _, m := range g.members {
		if m.srtt > 0 {
			largest = max(largest, f(m))
		}
	}
	return largest
}
