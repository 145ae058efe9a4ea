package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"tandem/engine/clock"
	"tandem/engine/sim"
)

// who says what stands at the near end: the far end is always the kernel.
type who string

const (
	tandemDials   who = "tandem dials"
	tandemAccepts who = "tandem accepts"
	kernelDials   who = "kernel dials kernel"
)

// An interop is a case: two ends over two links.
type interop struct {
	name             string
	except           who // who it makes no sense for
	ipv6             bool
	links            []sim.Conditions // nil: two ordinary ones
	dialer, accepter knobs
	up, down         int64  // octets from dialer to accepter and back
	answer           bool   // the accepter speaks once the dialer has ended its stream
	aborts           string // "dialer" or "accepter": aborts after abortAfter octets

	during func(ctx context.Context, s *scene) error // runs beside the transfer

	least    [2]float64 // share of each link of all octets, or of those after countAnew
	most     [2]float64 // 0: any share
	fallback bool       // to TCP, as it must
	strips   string     // nft match: a middlebox removes MPTCP options of such packets
	late     bool       // fallback comes after the handshake
	goodput  float64    // Mbit/s at least, where the limit is one of time

	needDialer, needAccepter []string // counters of the kernel at that end that must have moved
	allow                    []string // forbidden counters that may have
	allowKernels             []string // likewise, when both ends are the kernel
	packets                  string   // display filter that something in the capture must match
}

const (
	abortAfter = 1 << 20
	caseTime   = 40 * time.Second
	graceTime  = 5 * time.Second
	settleTime = 2 * time.Second // for subflows over a link that is silent for good, or a path that is gone
	port       = 7701
	idle       = 0.001 // share of a link that carries no data
)

// ordinary are the links of most cases.
var ordinary = []sim.Conditions{
	{Rate: 40e6, Delay: 5 * time.Millisecond, QueueTime: 60 * time.Millisecond, MTU: 1500},
	{Rate: 30e6, Delay: 10 * time.Millisecond, QueueTime: 60 * time.Millisecond, MTU: 1500},
}

// A scene is a case under way.
type scene struct {
	ducts            []*duct
	before           [2]int64 // octets forwarded that shares leave out
	dialer, accepter end
	dialing          *party
	accepting        *party
	capture          *capture
	file             string
	kernels          map[string]end // "dialer", "accepter": those that count
	spaces           []*space
}

// in is a case with that end near.
func (c interop) in(w who) seed {
	return seed{string(w) + ": " + c.name, c.limit(), func(ctx context.Context, dir string) (figure string, err error) {
		if c.except == w {
			return "", skipped("makes no sense in this role")
		}
		s, err := c.build(w, filepath.Join(dir, "far.pcap"))
		defer s.close()
		if err == nil {
			figure, err = c.act(ctx, s)
		}
		s.story(filepath.Join(dir, "trace.txt"))
		return figure, err
	}}
}

// story writes what the engine traced to a file, if it took part.
func (s *scene) story(file string) {
	for _, e := range []end{s.dialer, s.accepter} {
		if t, ok := e.(*tandemEnd); ok {
			t.story(file)
		}
	}
}

// build makes hosts and links for a case. The scene must be closed also after an error.
func (c interop) build(w who, file string) (s *scene, err error) {
	s = &scene{file: file, kernels: map[string]end{}}
	snap, room := 1<<16, 1<<20
	if c.up+c.down > 16<<20 {
		snap, room = 192, 200_000
	}
	if s.capture, err = newCapture(file, snap, room); err != nil {
		return s, err
	}
	farSpace, err := newSpace("far")
	if err != nil {
		return s, err
	}
	s.spaces = append(s.spaces, farSpace)
	if c.strips != "" {
		if err := farSpace.strip(c.strips); err != nil {
			return s, err
		}
	}
	links := c.links
	if links == nil {
		links = ordinary
	}
	kernel := &kernelEnd{space: farSpace, side: far, ipv6: c.ipv6}
	var nearEnd end
	if w == kernelDials {
		nearEnd, err = s.joinKernels(links, farSpace, c.ipv6)
	} else {
		nearEnd, err = s.joinEngine(links, farSpace, c.ipv6)
	}
	if err != nil {
		return s, err
	}
	s.dialer, s.accepter = nearEnd, kernel
	s.kernels["accepter"] = kernel
	switch w {
	case kernelDials:
		s.kernels["dialer"] = nearEnd
	case tandemAccepts:
		s.dialer, s.accepter = kernel, nearEnd
		s.kernels = map[string]end{"dialer": kernel}
	}
	if k, ok := s.dialer.(*kernelEnd); ok {
		k.dials = true
	}
	return s, errors.Join(s.dialer.prepare(c.dialer), s.accepter.prepare(c.accepter))
}

// joinKernels puts another namespace at the near end.
func (s *scene) joinKernels(links []sim.Conditions, farSpace *space, ipv6 bool) (end, error) {
	nearSpace, err := newSpace("near")
	if err != nil {
		return nil, err
	}
	s.spaces = append(s.spaces, nearSpace)
	now := clock.System()
	for i, conditions := range links {
		farDev, err := plug(farSpace, i, far, conditions.MTU)
		if err != nil {
			return nil, err
		}
		nearDev, err := plug(nearSpace, i, near, conditions.MTU)
		if err != nil {
			farDev.close()
			return nil, err
		}
		s.ducts = append(s.ducts, newDuctBetween(conditions, now, nearDev, farDev, s.capture))
	}
	return &kernelEnd{space: nearSpace, side: near, ipv6: ipv6}, nil
}

func (s *scene) close() {
	for _, e := range []end{s.dialer, s.accepter} {
		if e != nil {
			e.close()
		}
	}
	for _, d := range s.ducts {
		d.close()
	}
	for _, sp := range s.spaces {
		sp.remove()
	}
	if s.capture != nil {
		s.capture.close()
	}
}

// act carries a case out on its scene and checks all there is to check.
func (c interop) act(ctx context.Context, s *scene) (figure string, err error) {
	talking, cancel := context.WithCancel(ctx)
	defer cancel()
	dialTalk, acceptTalk := c.talks()
	at, err := c.target(s)
	if err != nil {
		return "", err
	}
	if c.dialer.FastOpen {
		if err := s.acquaint(talking, at); err != nil {
			return "", err
		}
	}
	if s.accepting, err = s.accepter.listen(talking, at, acceptTalk); err != nil {
		return "", err
	}
	if s.dialing, err = s.dialer.dial(talking, at, dialTalk); err != nil {
		return "", err
	}
	aside := make(chan error, 1)
	go func() {
		if c.during != nil {
			aside <- c.during(talking, s)
			return
		}
		aside <- nil
	}()
	dialed, accepted := s.reports(cancel)
	asideErr := <-aside
	s.settle(ctx)
	shares := s.shares()
	figure = c.figure(dialed, accepted, shares)
	errs := []error{c.judge("dialer", dialed, acceptTalk), c.judge("accepter", accepted, dialTalk), asideErr}
	if asideErr == nil {
		errs = append(errs, c.judgeShares(shares))
	}
	if mbits := goodput(dialed, accepted); mbits < c.goodput {
		errs = append(errs, fmt.Errorf("%.1f Mbit/s", mbits))
	}
	errs = append(errs, c.judgeCounters(ctx, s, "dialer", c.needDialer), c.judgeCounters(ctx, s, "accepter", c.needAccepter))
	errs = append(errs, c.judgeCapture(ctx, s))
	return figure, errors.Join(errs...)
}

// acquaint carries out a short talk, so that the dialer has a cookie for the next.
func (s *scene) acquaint(ctx context.Context, at netip.AddrPort) error {
	t := talk{Seed: 3, Send: 1}
	accepting, err := s.accepter.listen(ctx, at, t)
	if err != nil {
		return err
	}
	dialing, err := s.dialer.dial(ctx, at, t)
	if err != nil {
		return err
	}
	dialed, accepted := <-dialing.done, <-accepting.done
	return errors.Join(dialed.check(t), accepted.check(t))
}

// reports waits for both ends. What one still has to say after the other failed is not waited for long.
func (s *scene) reports(cancel func()) (dialed, accepted report) {
	dialing, accepting := s.dialing.done, s.accepting.done
	for dialing != nil || accepting != nil {
		select {
		case dialed = <-dialing:
			dialing = nil
		case accepted = <-accepting:
			accepting = nil
		}
		if dialed.Err != "" || accepted.Err != "" {
			defer time.AfterFunc(graceTime, cancel).Stop()
		}
	}
	return dialed, accepted
}

// talks returns what dialer and accepter do. Who has less to say answers: a kernel opens no
// subflows once it has ended its own stream.
func (c interop) talks() (dialer, accepter talk) {
	dialer = talk{Seed: 1, Send: c.up, Answer: c.down > c.up}
	accepter = talk{Seed: 2, Send: c.down, Answer: c.up > c.down || c.answer}
	switch c.aborts {
	case "dialer":
		dialer.AbortAt = abortAfter
	case "accepter":
		accepter.AbortAt = abortAfter
	}
	return dialer, accepter
}

// target is the address that the accepter listens on.
func (c interop) target(s *scene) (netip.AddrPort, error) {
	at := near
	if k, ok := s.accepter.(*kernelEnd); ok {
		at = k.side
	}
	return netip.AddrPortFrom(address(0, at, c.ipv6), port), nil
}

// settle waits until both ends are through with all subflows, so that counters stand still, but no longer than
// settleTime.
func (s *scene) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for s.closing(ctx) && sleep(ctx, 5*time.Millisecond) == nil {
	}
}

// closing reports whether an end has something to say or to hear still.
func (s *scene) closing(ctx context.Context) bool {
	for _, e := range []end{s.dialer, s.accepter} {
		switch e := e.(type) {
		case *tandemEnd:
			if c := e.conn.Load(); c != nil && !over(c.Done()) {
				return true
			}
		case *kernelEnd:
			open, err := e.space.command(ctx, "ss", "-Htn", "exclude", "listening", "exclude", "time-wait").Output()
			if err != nil || len(open) > 0 {
				return true
			}
		}
	}
	return false
}

func over(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// shares returns the part of each link in the octets forwarded.
func (s *scene) shares() [2]float64 {
	octets := forwarded(s.ducts)
	first, second := float64(octets[0]-s.before[0]), float64(octets[1]-s.before[1])
	sum := max(first+second, 1)
	return [2]float64{first / sum, second / sum}
}

// countAnew has shares begin now.
func (s *scene) countAnew() { s.before = forwarded(s.ducts) }

func goodput(reports ...report) (mbits float64) {
	for _, r := range reports {
		if r.Elapsed > 0 {
			mbits = max(mbits, float64(r.Received)*8/1e6/r.Elapsed.Seconds())
		}
	}
	return mbits
}

func (c interop) figure(dialed, accepted report, shares [2]float64) string {
	return fmt.Sprintf("%5.1f Mbit/s, links %.0f + %.0f %%", goodput(dialed, accepted), 100*shares[0], 100*shares[1])
}

func (c interop) limit() string {
	var parts []string
	if c.goodput > 0 {
		parts = append(parts, fmt.Sprintf("≥ %.0f Mbit/s", c.goodput))
	}
	if c.least[0] > 0 && c.least[0] == c.least[1] {
		parts = append(parts, fmt.Sprintf("each link ≥ %.0f %%", 100*c.least[0]))
	}
	for i := range 2 {
		if c.least[i] > 0 && c.least[0] != c.least[1] {
			parts = append(parts, fmt.Sprintf("link %d ≥ %.0f %%", i, 100*c.least[i]))
		}
		switch {
		case c.most[i] == idle:
			parts = append(parts, fmt.Sprintf("link %d idle", i))
		case c.most[i] > 0:
			parts = append(parts, fmt.Sprintf("link %d ≤ %.0f %%", i, 100*c.most[i]))
		}
	}
	if c.aborts != "" {
		parts = append(parts, "reset at the other end")
	}
	if len(parts) == 0 {
		return "every octet"
	}
	return strings.Join(parts, ", ")
}

// judge checks what one end reports against what the other was to send.
func (c interop) judge(name string, r report, peer talk) error {
	var err error
	switch {
	case c.aborts == name:
		if r.Err != "read: "+errAborted.Error() {
			err = fmt.Errorf("aborted with %q", r.Err)
		}
	case c.aborts != "":
		if !strings.Contains(r.Err, "reset") {
			err = fmt.Errorf("ended with %q after the other's abort", r.Err)
		}
	default:
		err = r.check(peer)
		if err == nil && !c.late && r.Multipath == c.fallback {
			err = fmt.Errorf("fallback to TCP: %t", !r.Multipath)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (c interop) judgeShares(shares [2]float64) error {
	for i, share := range shares {
		if share < c.least[i] || c.most[i] > 0 && share > c.most[i] {
			return fmt.Errorf("link %d carried %.1f %%", i, 100*share)
		}
	}
	return nil
}

// judgeCounters checks the counters of the kernel at that end, if it is there.
func (c interop) judgeCounters(ctx context.Context, s *scene, name string, need []string) error {
	kernel, ok := s.kernels[name]
	if !ok {
		return nil
	}
	all, err := kernel.counters(ctx)
	if err != nil {
		return err
	}
	allow := c.allow
	if len(s.kernels) == 2 {
		allow = append(allow, c.allowKernels...)
	}
	if c.aborts != "" {
		allow = append([]string{"MPFastcloseTx", "MPFastcloseRx", "MPRstTx", "MPRstRx"}, allow...)
	}
	if err := all.check(need, allow); err != nil {
		return fmt.Errorf("%s's %w", name, err)
	}
	return nil
}

func (c interop) judgeCapture(ctx context.Context, s *scene) error {
	if err := s.capture.close(); err != nil {
		return err
	}
	if err := inspect(ctx, s.file, c.dialer.FastOpen); err != nil {
		return err
	}
	if c.packets == "" {
		return nil
	}
	n, err := packets(ctx, s.file, c.packets)
	if err == nil && n == 0 {
		err = fmt.Errorf("nothing in the capture matches %q", c.packets)
	}
	return err
}
