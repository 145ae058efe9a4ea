package client

import (
	"errors"
	"reflect"
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
	if want := (control.State{Scheduler: "earliest", CostV: 64, Establish: "auto", Address: "unknown", Privacy: "standard", FastOpen: true}); !reflect.DeepEqual(s, want) {
		t.Errorf("by default %+v", s)
	}
	set := control.Change{
		Scheduler: new(config.Scheduler("owl")), CostV: new(config.CostV(640)), CostRate: new(config.Rate(8e6)), Establish: new(config.Establish("ips")),
		Address: new(config.Address("fixed")), Inactivity: &config.Inactivity{Time: time.Hour, Request: true}, Privacy: new(config.Privacy("standard")),
	}
	c.settings = set.Apply(c.settings)
	want := conduct{"owl", 640, 8e6, "ips", "fixed", config.Inactivity{Time: time.Hour, Request: true}, "standard", true}
	if is := c.conduct(); is != want {
		t.Errorf("as set: %+v", is)
	}
	v := &live{Client: c, manner: newManner(c.conduct())}
	for _, made := range []engine.BondConfig{v.bondConfig(), (&nativeMode{live: v}).bondConfig()} {
		if made.Scheduler != "owl" || made.CostV != 640 || made.CostRate != 1e6 || made.Inactivity.Time != time.Hour || !made.Inactivity.Request ||
			made.Timestamps == made.Paired || made.FastOpen == made.Paired || made.Privacy != engine.PrivacyStandard {
			t.Errorf("a bond is made with %+v", made.Config)
		}
	}
	c.cfg.Told = control.Change{Scheduler: new(config.Scheduler("cost")), Inactivity: new(config.Inactivity), FastOpen: new(false)}
	want.scheduler, want.inactivity, want.fastOpen = "cost", config.Inactivity{}, false
	if is := c.conduct(); is != want {
		t.Errorf("as told: %+v", is)
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
			return s.Establish == "sim" && s.Races == 3 && s.Links[0].Won+s.Links[1].Won == 3
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

// carries lets a connection to a host with that port be busy both ways, and says how many octets each link carried
// in each direction.
func (l *lake) carries(port uint16) (octets [2][2]int) {
	s := l.download(port)
	defer s.Close()
	if port == murmurs {
		go flood(s, 10*time.Millisecond)
	}
	time.Sleep(3 * time.Second)
	for link := range octets {
		down, up := l.inside(link)
		octets[link] = [2]int{-down, -up}
	}
	time.Sleep(3 * time.Second)
	for link := range octets {
		down, up := l.inside(link)
		octets[link][0] += down
		octets[link][1] += up
	}
	return octets
}

// TestPrice: with the scheduler "cost" the dear link carries nothing to speak of while the cheap one suffices, down as
// well as up, and what exceeds it otherwise. Other schedulers look at no price.
func TestPrice(t *testing.T) {
	onLake(t, 10e6, func(l *lake) {
		for _, c := range []struct {
			scheduler config.Scheduler
			price     float64
			port      uint16
			dear      bool
		}{
			{"earliest", 5, murmurs, true},
			{"cost", 5, murmurs, false},
			{"cost", 5, talks, true},
			{"cost", 0, murmurs, true},
		} {
			if scheduler := l.client.State().Scheduler; scheduler != c.scheduler {
				l.stop()
				l.told.Told.Scheduler = &c.scheduler
				l.start()
			}
			l.change(1, control.LinkChange{Price: &c.price})
			if is := l.client.State(); is.Scheduler != c.scheduler || is.Links[1].Price != c.price {
				t.Errorf("%+v", is)
			}
			octets := l.carries(c.port)
			if c.port == murmurs && octets[0][1]+octets[1][1] < 5e5 {
				t.Errorf("%+v: %v octets", c, octets)
			}
			both, used := octets[0][0]+octets[1][0], false
			for way, name := range []string{"down", "up"} {
				cheap, dear := octets[0][way], octets[1][way]
				used = used || dear > (cheap+dear)/20 && (way == 0 || c.port == murmurs) // else acknowledgements
				if both < 5e5 || !c.dear && dear > (cheap+dear)/50 {
					t.Errorf("%+v: %d octets %s over the cheap link, %d over the dear one", c, cheap, name, dear)
				}
			}
			if c.dear && !used { // where one link would do, it may be used one way alone
				t.Errorf("%+v: %v octets over the cheap link, %v over the dear one", c, octets[0], octets[1])
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
			if octets[quick] < 3*octets[1-quick] {
				t.Errorf("%s: %d octets up over %s and %d over %s", scheduler, octets[0], names[0], octets[1], names[1])
			}
			s.Abort(nil)
		}
	})
}
