package path

func half(*Group, *member) float64 { return 0.5 }

// lia is the linked increase of RFC 6356 3, where alpha/total = max(w/r²) / (Σ w/r)².
func lia(g *Group, m *member) float64 {
	sum := g.sum((*member).x)
	return min(g.most(lossRate)/(sum*sum), 1/m.w())
}

func lossRate(m *member) float64 { return m.x() / m.r() }

// olia is the opportunistic linked increase: Kelly and Voice's term, plus a term that moves window
// from the paths with the largest windows to those with the best loss rate.
func olia(g *Group, m *member) float64 {
	sum := g.sum((*member).x)
	best, largest := g.most(quality), g.most((*member).w)
	var n, collected, largests float64 // members; best ones that have not the largest window; those that have it
	for _, o := range g.members {
		if o.srtt <= 0 {
			continue
		}
		n++
		if o.w() == largest {
			largests++
		} else if quality(o) == best {
			collected++
		}
	}
	var alpha float64
	switch {
	case collected == 0:
	case m.w() == largest:
		alpha = -1 / (n * largests)
	case quality(m) == best:
		alpha = 1 / (n * collected)
	}
	return lossRate(m)/(sum*sum) + alpha/m.w()
}

// quality is how much the path carries between losses, per round trip squared.
func quality(m *member) float64 {
	return float64(max(m.sinceLoss, m.prev)) / (m.r() * m.r())
}

// baliaRise is the increase of draft-walid-mptcp-congestion-control.
func baliaRise(g *Group, m *member) float64 {
	sum, alpha := g.sum((*member).x), g.most((*member).x)/m.x()
	return m.x() / (m.r() * sum * sum) * ((1 + alpha) / 2) * ((4 + alpha) / 5)
}

func baliaFall(g *Group, m *member) float64 {
	return min(g.most((*member).x)/m.x(), 1.5) / 2
}
