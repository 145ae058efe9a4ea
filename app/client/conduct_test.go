package client

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"tandem/app/config"
	"tandem/app/control"
	"tandem/engine"
	"tandem/engine/mptcp"
	"tandem/tunnel/carrier/carriertest"
	"tandem/tunnel/upstream"
)

// TestConduct: what the daemon was told counts before what is set, each for itself; bonds are made with both.
func TestConduct(t *testing.T) {
	c := &Client{settings: config.NewSettings(), cfg: Config{Upstream: &Upstream{Kind: SOCKS5}}}
	var s control.State
	c.conduct().show(&s)
	if want := (control.State{
		Scheduler: "earliest", CostV: 64, Establish: "auto", Address: "unknown", Privacy: "standard", FastOpen: true,
		Prototype: "none",
	}); !reflect.DeepEqual(s, want) {
		t.Errorf("by default %+v", s)
	}
	set := control.Change{
		Scheduler: new(config.Scheduler("owl")), CostV: new(config.CostV(640)), CostRate: new(config.Rate(8e6)), Establish: new(config.Establish("ips")),
		Address: new(config.Address("fixed")), Inactivity: &config.Inactivity{Time: time.Hour, Request: true}, Privacy: new(config.Privacy("standard")),
		Bounds: &config.Bounds{Least: time.Minute, Most: 30 * time.Minute}, ImplicitESIM: new(true), Prototype: new(config.Prototype("inactivity")),
	}
	c.settings = set.Apply(c.settings)
	want := conduct{
		"owl", 640, 8e6, "ips", "fixed", config.Inactivity{Time: 30 * time.Minute, Request: true}, *set.Bounds, "standard", true, true, "inactivity",
	}
	if is := c.conduct(); is != want {
		t.Errorf("as set: %+v", is)
	}
	v := &live{Client: c, manner: newManner(c.conduct())}
	for _, made := range []engine.BondConfig{v.bondConfig(), (&nativeMode{live: v}).bondConfig()} {
		if made.Scheduler != "owl" || made.CostV != 640 || made.CostRate != 1e6 || made.Prototype != mptcp.PrototypeInactivity ||
			made.Inactivity != (engine.Inactivity{Time: 30 * time.Minute, Request: true, Least: time.Minute, Most: 30 * time.Minute}) ||
			made.ImplicitESIM == made.Paired || made.Timestamps == made.Paired || made.FastOpen == made.Paired || made.Privacy != engine.PrivacyStandard {
			t.Errorf("a bond is made with %+v", made.Config)
		}
	}
	c.cfg.Told = control.Change{Scheduler: new(config.Scheduler("cost")), Inactivity: new(config.Inactivity), FastOpen: new(false)}
	want.scheduler, want.inactivity, want.fastOpen = "cost", config.Inactivity{}, false
	if is := c.conduct(); is != want {
		t.Errorf("as told: %+v", is)
	}
	later := want
	later.inactivity = config.Inactivity{Time: 24 * time.Hour}
	if v.manner.is.Store(&later); v.manner.now().inactivity.Time != 30*time.Minute {
		t.Errorf("the bond's bounds are exceeded: %+v", v.manner.now())
	}
}

// TestStrictConduct: who would rather not be known again takes no cookies.
func TestStrictConduct(t *testing.T) {
	c := &Client{settings: config.NewSettings(), cfg: Config{Upstream: &Upstream{Kind: SOCKS5}}}
	c.settings.Privacy = "strict"
	v := &live{Client: c, manner: newManner(c.conduct())}
	if made := (&nativeMode{live: v}).bondConfig(); made.Privacy != engine.PrivacyStrict || made.FastOpen {
		t.Errorf("a bond is made with %+v", made.Config)
	}
	for _, x := range []struct {
		is   conduct
		want upstream.Haste
	}{
		{conduct{fastOpen: true}, upstream.HastyOnly}, {conduct{}, upstream.Patient}, {conduct{fastOpen: true, privacy: "strict"}, upstream.Patient},
	} {
		if got := x.is.haste(upstream.HastyOnly); got != x.want {
			t.Errorf("%+v: %v", x.is, got)
		}
	}
}

// TestWhatThePeerSays: the hub's limits are shown in this device's directions.
func TestWhatThePeerSays(t *testing.T) {
	k := &link{path: engine.PathInfo{PathInfo: mptcp.PathInfo{Granted: true, Won: 3, PeerDown: 125, PeerUp: 250, LimitUp: 1250, Limit: 125}}}
	var l control.Link
	if k.showPath(&l); l != (control.Link{}) {
		t.Errorf("without a path %+v", l)
	}
	k.pipe.attachment.Store(new(engine.Attachment))
	k.showPath(&l)
	if want := (control.Link{Granted: true, Won: 3, PeerUp: 1000, PeerDown: 2000, LimitUsed: 1000}); l != want {
		t.Errorf("%+v, want %+v", l, want)
	}
}

func (l *lake) set(c control.Change) {
	l.t.Helper()
	if err := l.client.Set(l.t.Context(), c); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lake) connection(number int) control.Connection {
	l.t.Helper()
	c, err := l.client.Connection(l.t.Context(), number)
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

// TestEstablish: connections begin as the daemon was told, then as somebody says while it runs, and so after a restart.
func TestEstablish(t *testing.T) {
	onLake(t, 10e6, func(l *lake) {
		l.stop()
		l.told.Told.Establish = new(config.Establish("sim"))
		l.start()
		for range 3 {
			l.dial(silent)
		}
		l.wait(func(s control.State) bool {
			return s.Establish == "sim" && s.Races == 3 && s.Links[0].Won+s.Links[1].Won == 3 && s.Counters["races"] == 3
		})
		if how := l.connection(1).Establish; how != "sim" {
			t.Errorf("begun by %s", how)
		}
		classic := config.Establish("classic")
		l.set(control.Change{Establish: &classic})
		if how := l.client.State().Establish; how != classic {
			t.Errorf("set to %s", how)
		}
		l.dial(silent)
		if how := l.connection(4).Establish; how != "classic" {
			t.Errorf("then begun by %s", how)
		}
		time.Sleep(time.Second)
		if s := l.client.State(); s.Races != 3 || s.Switches != 0 {
			t.Errorf("%d races and %d switches", s.Races, s.Switches)
		}
		l.stop()
		l.told.Told.Establish = nil
		l.start()
		l.dial(silent)
		if how := l.connection(1).Establish; how != "classic" {
			t.Errorf("after a restart begun by %s", how)
		}
	})
}

// TestSwitch: a link that is silent costs a connection a moment, and is counted.
func TestSwitch(t *testing.T) {
	onLake(t, 10e6, func(l *lake) {
		mode := config.Establish("timer")
		l.set(control.Change{Establish: &mode})
		down := config.Backup
		l.change(1, control.LinkChange{Role: &down})
		(&world{network: l.network}).silence(0, true)
		l.dial(silent)
		l.wait(func(s control.State) bool { return s.Switches == 1 && s.Races == 0 })
	})
}

// TestInactivity: connections end when they have been idle as long as the daemon was told, or as somebody said since.
func TestInactivity(t *testing.T) {
	onLake(t, 10e6, func(l *lake) {
		l.stop()
		l.told.Told.Inactivity = &config.Inactivity{Time: 2 * time.Hour, Request: true}
		l.start()
		first := l.dial(silent)
		if i := l.connection(1).Inactivity; i.Own != 7200 || !i.Request || i.Used != 7200 || i.Left < 7100 {
			t.Errorf("told: %+v", i)
		}
		shorter := config.Inactivity{Time: 10 * time.Minute}
		l.set(control.Change{Inactivity: &shorter})
		second := l.dial(silent)
		for n := range 2 {
			if i := l.connection(n + 1).Inactivity; i.Own != 600 || i.Request || i.Used != 600 {
				t.Errorf("connection %d, said since: %+v", n+1, i)
			}
		}
		if is := l.client.State().Inactivity; is != shorter {
			t.Errorf("the state says %v", is)
		}
		begun := time.Now()
		for _, s := range []interface{ Read([]byte) (int, error) }{first, second} {
			if _, err := s.Read(make([]byte, 1)); !errors.Is(err, engine.ErrTimeout) {
				t.Errorf("%v", err)
			}
		}
		if took := time.Since(begun); took < 599*time.Second || took > 601*time.Second {
			t.Errorf("ended after %v", took)
		}
		l.wait(func(s control.State) bool { return s.Counters["inactive"] == 2 })
		l.set(control.Change{Inactivity: new(config.Inactivity)})
		third := l.dial(silent)
		if i := l.connection(3).Inactivity; i.Own != 0 || i.Used != 0 {
			t.Errorf("none: %+v", i)
		}
		time.Sleep(3 * time.Hour)
		if _, err := third.Write([]byte("still here")); err != nil {
			t.Error(err)
		}
	})
}

// shares lets a connection to a host with that port be busy, with a murmur both ways, and says which share of the octets
// link 0 carried in each direction.
func (l *lake) shares(port uint16) (down, up float64) {
	l.t.Helper()
	s := l.download(port)
	defer s.Abort(nil)
	if port == murmurs {
		go flood(s, 10*time.Millisecond)
	}
	time.Sleep(3 * time.Second)
	down0, up0 := l.inside(0)
	down1, up1 := l.inside(1)
	time.Sleep(3 * time.Second)
	downNow0, upNow0 := l.inside(0)
	downNow1, upNow1 := l.inside(1)
	d, u := [2]int{downNow0 - down0, downNow1 - down1}, [2]int{upNow0 - up0, upNow1 - up1}
	if d[0]+d[1] < 1e6 || port == murmurs && u[0]+u[1] < 1e6 {
		l.t.Errorf("%v octets came down, %v went up", d, u)
	}
	return float64(d[0]) / float64(d[0]+d[1]), float64(u[0]) / float64(u[0]+u[1])
}

// TestPrice: of two links the first is the quicker, and either can carry what is said to hosts that murmur. With the
// scheduler "cost" the price decides, down as well as up, and the dear link carries only what exceeds the cheap one;
// other schedulers look at no price, and the quick link carries most.
func TestPrice(t *testing.T) {
	onLake(t, 10e6, func(l *lake) {
		l.network.Change(1, func(up, down *carriertest.Conditions) {
			up.Delay, down.Delay = 15*time.Millisecond, 15*time.Millisecond
		})
		for _, c := range []struct {
			scheduler   config.Scheduler
			price       [2]float64 // of the links
			port        uint16
			least, most float64 // that link 0 carries
		}{
			{"earliest", [2]float64{5, 0}, murmurs, 0.8, 1},
			{"cost", [2]float64{5, 0}, murmurs, 0, 0.02},
			{"cost", [2]float64{0, 5}, murmurs, 0.98, 1},
			{"cost", [2]float64{5, 5}, murmurs, 0.8, 1},
			{"cost", [2]float64{}, murmurs, 0.8, 1},
			{"cost", [2]float64{5, 0}, talks, 0.4, 0.6},
		} {
			if l.client.State().Scheduler != c.scheduler {
				l.stop()
				l.told.Told.Scheduler = &c.scheduler
				l.start()
			}
			for link, price := range c.price {
				l.change(link, control.LinkChange{Price: &price})
			}
			if is := l.client.State(); is.Scheduler != c.scheduler || is.Links[0].Price != c.price[0] || is.Links[1].Price != c.price[1] {
				t.Errorf("%+v", is)
			}
			down, up := l.shares(c.port)
			if down < c.least || down > c.most || c.port == murmurs && (up < c.least || up > c.most) {
				t.Errorf("%+v: link 0 carried %.3f of what came down, and %.3f of what went up", c, down, up)
			}
		}
	})
}

// TestOneWayLatency: with the scheduler "owl" what this device sends takes the link that is the quicker one that way,
// though its answers take so long that others call it the slower.
func TestOneWayLatency(t *testing.T) {
	onLake(t, 10e6, func(l *lake) {
		for link, ways := range [][2]time.Duration{{5, 75}, {35, 5}} {
			l.network.Change(link, func(up, down *carriertest.Conditions) {
				up.Delay, down.Delay = ways[0]*time.Millisecond, ways[1]*time.Millisecond
			})
		}
		for scheduler, quick := range map[config.Scheduler]int{"owl": 0, "earliest": 1} {
			l.stop()
			l.told.Told.Scheduler = &scheduler
			l.start()
			s := l.dial(silent)
			go flood(s, 50*time.Millisecond)
			time.Sleep(5 * time.Second)
			_, up0 := l.inside(0)
			_, up1 := l.inside(1)
			time.Sleep(3 * time.Second)
			octets := [2]int{-up0, -up1}
			for link := range octets {
				_, up := l.inside(link)
				octets[link] += up
			}
			one := l.connection(1)
			if is := l.client.State().Links; one.Scheduler != scheduler ||
				scheduler == "owl" != (is[0].Forward < is[1].Forward && is[0].Backward > is[1].Backward) ||
				scheduler == "owl" != slices.ContainsFunc(one.Subflows, func(f control.Subflow) bool { return f.Forward > 0 }) {
				t.Errorf("%s: links %+v, connection %+v", scheduler, is, one)
			}
			if octets[quick] < 3*octets[1-quick] {
				t.Errorf("%s: %d octets up over %s and %d over %s", scheduler, octets[0], names[0], octets[1], names[1])
			}
			s.Abort(nil)
		}
	})
}
