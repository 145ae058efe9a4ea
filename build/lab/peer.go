package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync/atomic"
	"time"
)

// An errand is what a helper process in a namespace is told to do, on its command line.
type errand struct {
	Listen, Dial string // one of them: an address with port
	Plain        bool   // TCP, not Multipath TCP
	FastOpen     bool   // what is written first rides in the SYN
	Talk         talk
}

// A line is what a helper says on its standard output, one JSON object a line.
type line struct {
	Ready    bool    // listening
	Progress int64   // octets read so far
	Report   *report // the last line
}

// runErrand is the helper's main.
func runErrand(ctx context.Context, arg string, out io.Writer) error {
	var e errand
	if err := json.Unmarshal([]byte(arg), &e); err != nil {
		return err
	}
	say := json.NewEncoder(out)
	begun := time.Now()
	conn, err := e.connect(ctx, func() { say.Encode(line{Ready: true}) })
	if err != nil {
		return say.Encode(line{Report: &report{Err: err.Error()}})
	}
	connected := time.Since(begun)
	multipath, _ := conn.MultipathTCP()
	var progress atomic.Int64
	done := make(chan report, 1)
	go func() { done <- converse(ctx, conn, e.Talk, &progress) }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			say.Encode(line{Progress: progress.Load()})
		case r := <-done:
			r.Multipath = multipath
			if e.Dial != "" {
				r.Connected = connected
			}
			return say.Encode(line{Report: &r})
		}
	}
}

func (e errand) connect(ctx context.Context, ready func()) (*net.TCPConn, error) {
	if e.Dial != "" {
		var d net.Dialer
		d.SetMultipathTCP(!e.Plain)
		if e.FastOpen {
			d.Control = deferConnect
		}
		c, err := d.DialContext(ctx, "tcp", e.Dial)
		if err != nil {
			return nil, err
		}
		return c.(*net.TCPConn), nil
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(!e.Plain)
	l, err := lc.Listen(ctx, e.network(), e.Listen)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	ready()
	c, err := l.Accept()
	if err != nil {
		return nil, err
	}
	// The listener stays open: joins to its port are answered by it.
	return c.(*net.TCPConn), nil
}

// network keeps the wildcard address within its family.
func (e errand) network() string {
	if at, err := netip.ParseAddrPort(e.Listen); err == nil && at.Addr().Is4() {
		return "tcp4"
	}
	return "tcp"
}

// A party is a talk under way.
type party struct {
	progress atomic.Int64
	ready    chan struct{}
	done     chan report
}

// send starts a helper. It is killed when ctx ends.
func send(ctx context.Context, s *space, e errand) (*party, error) {
	arg, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := s.command(ctx, self, "lab", "peer", string(arg))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	h := &party{ready: make(chan struct{}), done: make(chan report, 1)}
	go h.follow(cmd, out)
	return h, nil
}

func (h *party) follow(cmd *exec.Cmd, out io.Reader) {
	last := report{Err: "the helper died without a report"}
	ready := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			last.Err = fmt.Sprintf("the helper said %q", lines.Text())
			break
		}
		if l.Ready && !ready {
			ready = true
			close(h.ready)
		}
		if l.Progress > 0 {
			h.progress.Store(l.Progress)
		}
		if l.Report != nil {
			last = *l.Report
			h.progress.Store(last.Received)
		}
	}
	cmd.Wait()
	if !ready {
		close(h.ready)
	}
	h.done <- last
}
