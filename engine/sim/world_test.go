package sim

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"tandem/engine/mptcp"
)

// pair is a client and a hub, both tandem, with two paths between them.
type pair struct {
	*World
	client, server         *Host
	clientBond, serverBond *mptcp.Bond
	clientUser, serverUser *User
	paths                  []*Path
}

func newPair(seed uint64, up, down []Conditions) *pair {
	w := NewWorld(seed)
	p := &pair{World: w}
	near, far := mptcp.DatagramConfig{Near: true, Host4: chatHost}, mptcp.DatagramConfig{Host4: chatHost}
	p.clientBond = mptcp.NewBond(mptcp.Config{Entropy: Entropy(seed, false), Paired: true, Strict: true, Datagrams: near})
	p.serverBond = mptcp.NewBond(mptcp.Config{Entropy: Entropy(seed+1, false), Paired: true, Strict: true, Datagrams: far})
	p.client, p.server = w.NewHost("client", p.clientBond), w.NewHost("hub", p.serverBond)
	for i := range up {
		id := mptcp.PathID(i)
		here, there := netip.AddrFrom4([4]byte{198, 18, byte(i), 2}), netip.AddrFrom4([4]byte{198, 18, byte(i), 1})
		p.paths = append(p.paths, w.NewPath("path", p.client, id, p.server, id, up[i], down[i]))
		p.clientBond.Attach(0, id, mptcp.PathConfig{Local4: here, Peer4: there})
		p.serverBond.Attach(0, id, mptcp.PathConfig{Local4: there, Peer4: here})
	}
	p.clientUser, p.serverUser = NewUser(p.client, p.clientBond), NewUser(p.server, p.serverBond)
	p.serverUser.Strict = true
	return p
}

func (p *pair) plan(plan *Plan) {
	p.clientUser.Dial(plan)
	p.serverUser.Answer(plan)
}

func TestOneMegabyteEachWay(t *testing.T) {
	a := Conditions{Rate: 50e6, Delay: 10 * time.Millisecond, QueueTime: 60 * time.Millisecond}
	b := Conditions{Rate: 30e6, Delay: 30 * time.Millisecond, QueueTime: 100 * time.Millisecond}
	p := newPair(1, []Conditions{a, b}, []Conditions{a, b})
	p.plan(&Plan{Target: netip.AddrPortFrom(hub4, 80), Up: 1 << 20, Down: 1 << 20})
	done := func() bool {
		return len(p.serverUser.Streams) == 1 && p.clientUser.Streams[0].finished() && p.serverUser.Streams[0].finished()
	}
	if err := p.RunUntil(20*s, done); err != nil {
		t.Fatal(err)
	}
	if !done() {
		t.Fatalf("not done after %v:\n%v\n%v", p.Now(), p.clientUser.Streams, p.serverUser.Streams)
	}
}

func TestAnOfferThatComesTwiceIsSeen(t *testing.T) {
	p := newPair(1, []Conditions{{}}, []Conditions{{}})
	for i := range 2 {
		p.plan(&Plan{Target: netip.AddrPortFrom(hub4, 80), Dialled: 10 * ms, Options: mptcp.DialOptions{Source: uint16(2000 + i)}})
	}
	if err := p.Run(s); err == nil || !strings.Contains(err.Error(), "for the second time") {
		t.Errorf("got %v", err)
	}
}

func TestAnOfferThatNobodyMadeIsSeen(t *testing.T) {
	p := newPair(1, []Conditions{{}}, []Conditions{{}})
	p.clientUser.Dial(&Plan{Target: netip.AddrPortFrom(hub4, 80)})
	if err := p.Run(s); err == nil || !strings.Contains(err.Error(), "nobody dialled") {
		t.Errorf("got %v", err)
	}
}

func TestWardenSeesWhatIsTooMuch(t *testing.T) {
	for name, limits := range map[string]mptcp.Limits{
		"octets to send":  {SendBuffer: 1000, RecvBuffer: 1 << 30, Subflows: 8, Buffered: 1 << 30},
		"octets received": {SendBuffer: 1 << 30, RecvBuffer: -1, Subflows: 8, Buffered: 1 << 30},
		"0 are allowed":   {SendBuffer: 1 << 30, RecvBuffer: 1 << 30, Buffered: 1 << 30},
		"keeps":           {SendBuffer: 1 << 30, RecvBuffer: 1 << 30, Subflows: 8},
	} {
		slow := Conditions{Rate: 1e6, Delay: 50 * time.Millisecond}
		p := newPair(1, []Conditions{slow}, []Conditions{slow})
		p.client.Use(&Warden{User: p.clientUser, Limits: limits})
		p.plan(&Plan{Target: netip.AddrPortFrom(hub4, 80), Up: 100_000})
		if err := p.Run(s); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
