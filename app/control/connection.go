package control

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"tandem/app/config"
)

// Connection is a TCP connection that an application has opened.
type Connection struct {
	Number    int            `json:"number"`
	Target    netip.AddrPort `json:"target"`
	State     string         `json:"state"`
	Opened    time.Time      `json:"opened"`
	Sent      uint64         `json:"sent"` // octets, acknowledged
	Received  uint64         `json:"received"`
	Subflows  []Subflow      `json:"subflows"`
	Multipath bool           `json:"multipath"` // false: it fell back to TCP, or nobody has answered yet
	Via       Via            `json:"via"`       // who was asked for it
	Token     uint32         `json:"token"`     // of this end (RFC 8684)
	Resent    uint64         `json:"resent"`    // octets that left over a second link too
	SendQueue int            `json:"send_queue"`
	RecvQueue int            `json:"recv_queue"`

	FastOpen   int              `json:"fast_open"` // octets that rode in the SYN and were taken
	Establish  string           `json:"establish"` // how it was begun
	Scheduler  config.Scheduler `json:"scheduler"` // what chooses links for its packets
	Inactivity Inactivity       `json:"inactivity"`

	Trace string `json:"trace,omitempty"` // its last events, when asked for by its number
}

// Via says in one word which way a connection went.
type Via string

// The ways. All but the first are those of daemons that use a proxy of another make.
const (
	ViaHub      Via = "hub"
	ViaProxy    Via = "proxy"
	ViaBypass   Via = "bypass"   // past the proxy, since the target speaks Multipath TCP itself
	ViaDirect   Via = "direct"   // past the proxy, since it is of no use now
	ViaImplicit Via = "implicit" // to the target, in whose name a proxy on the way may answer
)

// Inactivity is how long a connection may be idle, in seconds; 0: for ever, or not said.
type Inactivity struct {
	Own          float64 `json:"own_s"`         // as this end says
	Peer         float64 `json:"peer_s"`        // as the other end says
	Request      bool    `json:"request"`       // this end asks the other to be as patient
	PeerRequests bool    `json:"peer_requests"` // the other end asks this one
	Used         float64 `json:"used_s"`        // what counts here
	Left         float64 `json:"left_s"`        // of it, if nothing happens
}

// Subflow is what of a connection goes over one link.
type Subflow struct {
	ID       int            `json:"id"` // within its connection
	Link     string         `json:"link"`
	Local    netip.AddrPort `json:"local"`
	Remote   netip.AddrPort `json:"remote"`
	State    string         `json:"state"`
	RTT      float64        `json:"rtt_ms"`
	Sent     uint64         `json:"sent"`
	Received uint64         `json:"received"`

	Established bool    `json:"established"` // may carry data
	Leaving     bool    `json:"leaving"`     // ends as soon as another is established
	Silent      bool    `json:"silent"`      // what it did not bring in time went over others
	Backup      bool    `json:"backup"`      // this end wishes it spared
	PeerBackup  bool    `json:"peer_backup"` // the other end does
	RTTVar      float64 `json:"rtt_var_ms"`
	RTTMin      float64 `json:"rtt_min_ms"`
	RTO         float64 `json:"rto_ms"`
	Window      int     `json:"window"`    // octets of congestion window
	Threshold   int     `json:"threshold"` // octets of slow start; 0: none
	Outstanding int     `json:"outstanding"`
	MSS         int     `json:"mss"`
	Retransmits uint64  `json:"retransmits"` // segments
	Timeouts    uint64  `json:"timeouts"`
	Rate        float64 `json:"rate_bps"` // delivered, estimated
	Pace        float64 `json:"pace_bps"` // that may leave; 0: any

	AskedLimit config.Rate `json:"asked_limit"` // that the other end is asked to keep to on it; 0: none
	PeerLimit  config.Rate `json:"peer_limit"`  // that it asks of this end
	Limit      config.Rate `json:"limit"`       // that this end keeps to, on it or on its link
	Muted      bool        `json:"muted"`       // the other end wants nothing new over it

	Forward  float64 `json:"forward_ms"` // latency to the other end, and from it: as of links
	Backward float64 `json:"backward_ms"`
}

// SubflowOpen says which subflow a connection shall open: over a link, or from an address.
type SubflowOpen struct {
	Link   string         `json:"link,omitempty"`
	Local  netip.AddrPort `json:"local,omitzero"`
	Remote netip.AddrPort `json:"remote,omitzero"` // left out: where the connection leads
	Backup bool           `json:"backup,omitempty"`
}

// What SubflowChange.Close says.
const (
	CloseFIN   = "fin"   // it still delivers what it was given
	CloseReset = "reset" // at once
)

// SubflowChange says what to do with a subflow.
type SubflowChange struct {
	Close  string `json:"close,omitempty"`
	Backup *bool  `json:"backup,omitempty"` // nil: as it is
}

// Opened is the number of a subflow that was opened.
type Opened struct {
	ID int `json:"id"`
}

// Connections returns the connections that are carried now.
func (c *Client) Connections(ctx context.Context) (all []Connection, err error) {
	return all, c.call(ctx, "GET", "/connections", nil, &all)
}

// Connection returns one of them, with its trace.
func (c *Client) Connection(ctx context.Context, number int) (one Connection, err error) {
	return one, c.call(ctx, "GET", of(number), nil, &one)
}

// CloseConnection ends one of them at once: its application is told that it was reset.
func (c *Client) CloseConnection(ctx context.Context, number int) error {
	return c.call(ctx, "POST", of(number)+"/close", nil, nil)
}

// OpenSubflow has one of them use a link, and returns the subflow's number.
func (c *Client) OpenSubflow(ctx context.Context, number int, o SubflowOpen) (id int, err error) {
	var opened Opened
	err = c.call(ctx, "POST", of(number)+"/subflows", o, &opened)
	return opened.ID, err
}

// ChangeSubflow closes a subflow, or has it spared or not.
func (c *Client) ChangeSubflow(ctx context.Context, number, id int, change SubflowChange) error {
	return c.call(ctx, "POST", of(number)+"/subflows/"+strconv.Itoa(id), change, nil)
}

// UseLink has one of them use a link from now on, or use it no more, of which the other end is told too.
func (c *Client) UseLink(ctx context.Context, number int, link string, use bool) error {
	return c.call(ctx, "POST", of(number)+"/links/"+url.PathEscape(link), use, nil)
}

func of(number int) string { return "/connections/" + strconv.Itoa(number) }

// serveConnections adds what is asked of connections. They may be those of other users: only who may do everything
// sees or touches them.
func serveConnections(add func(pattern string, needs right, do action), b Backend) {
	add("GET /connections", own, func(r *http.Request) (any, error) { return b.Connections(r.Context()) })
	one := func(pattern string, do func(r *http.Request, number int) (any, error)) {
		add(pattern, own, func(r *http.Request) (any, error) {
			n, err := number(r, "connection")
			if err != nil {
				return nil, err
			}
			return do(r, n)
		})
	}
	one("GET /connections/{connection}", func(r *http.Request, n int) (any, error) { return b.Connection(r.Context(), n) })
	one("POST /connections/{connection}/close", func(r *http.Request, n int) (any, error) {
		return nil, b.CloseConnection(r.Context(), n)
	})
	one("POST /connections/{connection}/subflows", func(r *http.Request, n int) (any, error) {
		var o SubflowOpen
		if err := body(r, &o); err != nil {
			return nil, err
		}
		id, err := b.OpenSubflow(r.Context(), n, o)
		return Opened{id}, err
	})
	one("POST /connections/{connection}/subflows/{subflow}", func(r *http.Request, n int) (any, error) {
		id, err := number(r, "subflow")
		if err != nil {
			return nil, err
		}
		var change SubflowChange
		if err := body(r, &change); err != nil {
			return nil, err
		}
		if c := change.Close; c != "" && c != CloseFIN && c != CloseReset {
			return nil, fmt.Errorf("a subflow is closed by %s or %s, not %q", CloseFIN, CloseReset, c)
		}
		return nil, b.ChangeSubflow(r.Context(), n, id, change)
	})
	one("POST /connections/{connection}/links/{link}", func(r *http.Request, n int) (any, error) {
		var use bool
		if err := body(r, &use); err != nil {
			return nil, err
		}
		return nil, b.UseLink(r.Context(), n, r.PathValue("link"), use)
	})
}

// number reads a part of a call's path.
func number(r *http.Request, of string) (int, error) {
	n, err := strconv.Atoi(r.PathValue(of))
	if err != nil {
		return 0, fmt.Errorf("%s %q: %w", of, r.PathValue(of), ErrUnknown)
	}
	return n, nil
}
