package relay

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"tandem/tunnel/packet"
)

// DatagramsConfig is what a hub's side of a datagram lane is made with.
type DatagramsConfig struct {
	Host4, Host6 netip.Addr // the client's addresses in its packets
	Hub4, Hub6   netip.Addr // of the hub inside the tunnel: who complains, who answers DNS
	Reach        Reach      // nil: everything is allowed

	// Send takes whole IP packets to the client, however long. It must not wait, and keeps none; several
	// goroutines call it.
	Send func(pkts [][]byte)
	// DNS answers a query to port 53 of the hub; nil is no answer. It may wait until ctx ends. nil: nobody listens there.
	DNS func(ctx context.Context, query []byte) (answer []byte)

	Mappings int          // at a time; the longest idle go first; 0: 4096
	Take     func() bool  // asks for one more file; without it, too, the longest idle go; nil: there is always one
	Give     func()       // gives a file back; set if Take is
	MTU      int          // of the client's device: longer IPv6 packets were cut by who sent them; 0: 1280
	Log      *slog.Logger // nil: silent
}

// Datagrams is the hub's side of a client's datagram lane: a NAT made of sockets, one for each port and each
// echo identifier of the client (RFC 4787, RFC 5508). Mapping is endpoint-independent, filtering
// address-dependent.
//
//	Receive ─► queue ─► one goroutine ─► sockets ─► world
//	   Send ◄─────────── a goroutine per socket ◄───┘  datagrams, and errors as ICMP
type Datagrams struct {
	cfg      DatagramsConfig
	open     opener
	queue    chan *[]byte
	octets   atomic.Int64 // in queue
	packets  sync.Pool    // of *[]byte
	batches  sync.Pool    // of *batch
	counts   counts
	asking   chan struct{} // full of DNS queries
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
	mappings map[key]*mapping // of the goroutine that forwards
	buf      []byte           // of it too
}

const (
	queueOctets  = 1 << 20
	queuePackets = 2048
	queries      = 256 // of DNS at a time
	sweeping     = 5 * time.Second
)

// DatagramsStats are counts of packets, but for Mappings, which is how many there are.
type DatagramsStats struct {
	Mappings                     int64
	Sent, SentOctets             uint64 // to targets; octets of payload
	Received, ReceivedOctets     uint64 // from targets
	Errors                       uint64 // ICMP errors told to the client
	Malformed, QueueFull, Failed uint64 // dropped: not understood; came too fast; the system did not take it
	Prohibited, Filtered         uint64 // not reached; not asked for
	Evicted                      uint64 // mappings that gave way to newer ones
}

type counts struct {
	mappings                                                    atomic.Int64
	sent, sentOctets, received, receivedOctets, errors          atomic.Uint64
	malformed, queueFull, failed, prohibited, filtered, evicted atomic.Uint64
}

// NewDatagrams starts to serve a lane. Close ends it.
func NewDatagrams(cfg DatagramsConfig) *Datagrams { return newDatagrams(cfg, openSocket) }

func newDatagrams(cfg DatagramsConfig, open opener) *Datagrams {
	if cfg.Mappings <= 0 {
		cfg.Mappings = 4096
	}
	if cfg.Take == nil {
		cfg.Take, cfg.Give = func() bool { return true }, func() {}
	}
	if cfg.MTU <= 0 {
		cfg.MTU = 1280
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	d := &Datagrams{
		cfg:      cfg,
		open:     open,
		queue:    make(chan *[]byte, queuePackets),
		asking:   make(chan struct{}, queries),
		mappings: map[key]*mapping{},
	}
	d.packets.New = func() any { b := make([]byte, 0, 2048); return &b }
	d.batches.New = func() any { return new(batch) }
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.running.Go(d.run)
	return d
}

// Receive takes whole IP packets from the client. It copies them and never waits: what is too much for the
// queue is dropped and counted, as are fragments.
func (d *Datagrams) Receive(pkts [][]byte) {
	for _, pkt := range pkts {
		if d.octets.Add(int64(len(pkt))) > queueOctets {
			d.octets.Add(int64(-len(pkt)))
			d.counts.queueFull.Add(1)
			continue
		}
		b := d.packets.Get().(*[]byte)
		*b = append((*b)[:0], pkt...)
		select {
		case d.queue <- b:
		default:
			d.octets.Add(int64(-len(pkt)))
			d.counts.queueFull.Add(1)
		}
	}
}

// Close ends every mapping and waits until nothing runs any more.
func (d *Datagrams) Close() error {
	d.cancel()
	d.running.Wait()
	return nil
}

// Stats returns the counts as they are.
func (d *Datagrams) Stats() DatagramsStats {
	c := &d.counts
	return DatagramsStats{
		Mappings: c.mappings.Load(),
		Sent:     c.sent.Load(), SentOctets: c.sentOctets.Load(),
		Received: c.received.Load(), ReceivedOctets: c.receivedOctets.Load(),
		Errors:    c.errors.Load(),
		Malformed: c.malformed.Load(), QueueFull: c.queueFull.Load(), Failed: c.failed.Load(),
		Prohibited: c.prohibited.Load(), Filtered: c.filtered.Load(), Evicted: c.evicted.Load(),
	}
}

// run owns the mappings. While there are none it has no timer.
func (d *Datagrams) run() {
	sweep := time.NewTimer(0)
	defer sweep.Stop()
	ticking := true
	for {
		select {
		case <-d.ctx.Done():
			for k, m := range d.mappings {
				d.drop(k, m)
			}
			return
		case pkt := <-d.queue:
			d.forward(*pkt)
			d.octets.Add(int64(-len(*pkt)))
			d.packets.Put(pkt)
			if !ticking && len(d.mappings) > 0 {
				ticking = true
				sweep.Reset(sweeping)
			}
		case now := <-sweep.C:
			d.expire(now)
			if ticking = len(d.mappings) > 0; ticking {
				sweep.Reset(sweeping)
			}
		}
	}
}

func (d *Datagrams) hub(v4 bool) netip.Addr {
	if v4 {
		return d.cfg.Hub4
	}
	return d.cfg.Hub6
}

func (d *Datagrams) host(v4 bool) netip.Addr {
	if v4 {
		return d.cfg.Host4
	}
	return d.cfg.Host6
}

// complain tells the client why a packet of its went no further.
func (d *Datagrams) complain(from netip.Addr, kind packet.Kind, mtu int, about []byte) {
	d.buf = packet.AppendError(d.buf[:0], from, kind, mtu, about)
	if len(d.buf) > 0 {
		d.counts.errors.Add(1)
		d.cfg.Send([][]byte{d.buf})
	}
}
