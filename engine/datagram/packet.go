package datagram

import "tandem/engine/clock"

// Transmit writes the next packet that may leave now into buf, which should have room for 1200 octets
// and the largest Ping, and must for BufferMin. Call it until it returns false.
func (c *Control) Transmit(now clock.Time, buf []byte) (id PathID, msg []byte, ok bool) {
	if len(buf) < BufferMin {
		return 0, nil, false
	}
	for _, p := range c.paths {
		if b := c.probe(now, p, buf); b != nil {
			return p.id, b, true
		}
		if len(p.acks) > 0 || len(p.pongs) > 0 || p.asked(false) != nil {
			return p.id, c.build(now, p, buf), true
		}
	}
	if m := c.due(now); m != nil {
		if p := c.choose(m); p != nil {
			return p.id, c.build(now, p, buf), true
		}
	}
	return 0, nil, false
}

// probe writes a packet with nothing but a padded PING: it is likely to be lost.
func (c *Control) probe(now clock.Time, p *lanePath, buf []byte) []byte {
	for {
		a := p.asked(true)
		if a == nil {
			return nil
		}
		if a.size <= len(buf) {
			a.leave(now, p)
			return appendPing(c.header().append(buf[:0]), a.id, now, a.size)
		}
		c.lost(p, a)
	}
}

// build writes a packet for p: answers, PINGs, and news as far as there is room. Only what was due
// anyway goes with answers, so that they stay no longer than what they answer.
func (c *Control) build(now clock.Time, p *lanePath, buf []byte) []byte {
	room := min(len(buf), packetMax)
	b := c.header().append(buf[:0])
	asked, telling := p.asked(false) != nil, c.usable(p) && c.due(now) != nil
	if asked || telling {
		// First, for the peer believes nothing that comes before it.
		b = c.appendNews(now, b, p, room, true)
	}
	b = p.appendAcks(b, room)
	b = p.appendPongs(now, b, room)
	for a := p.asked(false); a != nil && len(b)+messageLen+pingLen <= room; a = p.asked(false) {
		a.leave(now, p)
		b = appendPing(b, a.id, now, len(b)+messageLen+pingLen)
	}
	if telling {
		b = c.appendNews(now, b, p, room, false)
	}
	return b
}

// appendNews appends HELLO if it waits for its acknowledgement, or what else may leave now.
func (c *Control) appendNews(now clock.Time, b []byte, p *lanePath, room int, first bool) []byte {
	for i := range c.news {
		m := &c.news[i]
		if (m.kind == hello) != first || !first && !m.rides(now) || !c.sendable(m) || len(b)+m.length() > room {
			continue
		}
		b = c.appendMessage(now, b, m)
		if m.due <= now {
			if m.sent > 0 && m.last == p.id && p.heard <= m.left {
				p.doubtful = true
			}
			m.gap = m.wait(p.timeout())
			m.tries++
		}
		m.left, m.due, m.last = now, now.Add(m.gap), p.id
		m.sent++
	}
	return b
}

func (c *Control) appendMessage(now clock.Time, b []byte, m *news) []byte {
	switch m.kind {
	case hello:
		return appendHello(b, m.seq, &c.cfg)
	case pathNews:
		for _, s := range c.own {
			if s.ID == m.path {
				return appendPath(b, m.seq, s)
			}
		}
	case held, refused:
		return appendOffer(b, m, now.Sub(m.since))
	case bye:
		return append(be.AppendUint32(openMessage(b, bye, byeLen), m.seq), m.reason)
	}
	return b
}

func (c *Control) header() header { return header{from: c.cfg.Epoch, to: c.peer.epoch} }

func (p *lanePath) appendAcks(b []byte, room int) []byte {
	n := min(len(p.acks), (room-len(b)-messageLen)/4)
	if n <= 0 {
		return b
	}
	b = openMessage(b, ack, 4*n)
	for _, seq := range p.acks[:n] {
		b = be.AppendUint32(b, seq)
	}
	p.acks = p.acks[:copy(p.acks, p.acks[n:])]
	return b
}

func (p *lanePath) appendPongs(now clock.Time, b []byte, room int) []byte {
	n := 0
	for ; n < len(p.pongs) && len(b)+messageLen+pongLen <= room; n++ {
		b = appendPong(b, p.pongs[n], now)
	}
	p.pongs = p.pongs[:copy(p.pongs, p.pongs[n:])]
	return b
}
