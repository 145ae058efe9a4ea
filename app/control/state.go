// Package control is the local API of the daemon: JSON over HTTP over a unix socket. The command line and
// the window are its clients. What it says of itself is State, which `tandem status --json` prints.
package control

import (
	"context"
	"net/netip"
	"time"

	"tandem/app/config"
	"tandem/app/tally"
)

// Phase says in one word how things are.
type Phase string

// The phases.
const (
	NotJoined   Phase = "not joined"  // this device belongs to no hub
	Off         Phase = "off"         // somebody said down, or the daemon is about to start or stop
	NoLink      Phase = "no link"     // no link is usable
	Connecting  Phase = "connecting"  // the hub has not answered yet
	Connected   Phase = "connected"   // over one link at least
	Unreachable Phase = "unreachable" // the hub does not answer over any link
	Revoked     Phase = "revoked"     // the hub is up but does not accept this device
)

// What the State of a link says.
const (
	LinkConnected  = "connected"
	LinkConnecting = "connecting" // the hub has not answered over it yet
	LinkSilent     = "silent"     // it has answered, and does not any more
	LinkOff        = "off"        // somebody said so, with off or the role never
	LinkUnusable   = "unusable"   // Reason says why
)

// State is how things are.
type State struct {
	Phase       Phase  `json:"phase"`
	Reason      string `json:"reason,omitempty"` // one sentence, unless Phase says it all
	Hub         Hub    `json:"hub"`
	Links       []Link `json:"links"`
	Connections int    `json:"connections"` // TCP connections that are carried now

	Scheduler  config.Scheduler  `json:"scheduler"`  // what chooses links for packets
	Establish  config.Establish  `json:"establish"`  // how connections are begun
	Races      uint64            `json:"races"`      // connections that were asked for over several links at once
	Switches   uint64            `json:"switches"`   // times that one more link was asked because others did not answer
	Inactivity config.Inactivity `json:"inactivity"` // how long connections may be idle
	CostV      config.CostV      `json:"cost_v"`     // of the scheduler "cost"
	CostRate   config.Rate       `json:"cost_rate"`
	Address    config.Address    `json:"address"` // that connections begin with, where there is a choice
	Privacy    config.Privacy    `json:"privacy"` // towards proxies of other makes

	FastOpen         bool   `json:"fast_open"`          // what proxies of other makes are asked rides in the SYN, where they allow it
	FastOpens        uint64 `json:"fast_opens"`         // connections whose SYN had octets that were taken
	FastOpensRefused uint64 `json:"fast_opens_refused"` // and that were not

	Bounds       config.Bounds    `json:"inactivity_bounds"` // of the time that the other end asks for
	ImplicitESIM bool             `json:"implicit_esim"`     // proxies of other makes are not asked whether they can
	Prototype    config.Prototype `json:"prototype"`         // what the prototypes' option means

	// Counters are of what came, was refused or hit a limit since up: see tally.Tally. nil: not up.
	Counters tally.Tally `json:"counters"`
}

// Hub is the hub as this device knows it.
type Hub struct {
	Name     string `json:"name"`
	Endpoint string `json:"endpoint"` // HOST:PORT
}

// Link is a network interface and how it is used.
type Link struct {
	Name   string      `json:"name"`
	Kind   string      `json:"kind"` // wifi, cellular, ethernet, usb or other
	Role   config.Role `json:"role"`
	State  string      `json:"state"`
	Reason string      `json:"reason"`   // one sentence, or ""
	RTT    float64     `json:"rtt_ms"`   // to the hub, smoothed
	Loss   float64     `json:"loss"`     // of packets to the hub, 0 to 1
	Rx     uint64      `json:"rx_bytes"` // on the wire, since the daemon started
	Tx     uint64      `json:"tx_bytes"`
	RxRate float64     `json:"rx_bps"` // bits a second, over the last second
	TxRate float64     `json:"tx_bps"`

	PublicAddr string `json:"public_addr"` // as the Internet sees it; "": not known

	LimitUp   config.Rate `json:"limit_up"`
	LimitDown config.Rate `json:"limit_down"`
	Cap       config.Size `json:"cap"`
	ResetDay  int         `json:"reset_day"`
	Price     float64     `json:"price"` // the scheduler "cost" looks at it

	Private bool            `json:"private"` // its connections take no other link, and those of others do not take it
	Deny    config.Networks `json:"deny"`    // while it has an address in one of these it is private
	Alone   bool            `json:"alone"`   // it is private now, because of either
	Address config.Address  `json:"address"` // what its network promises of addresses
	Leaving bool            `json:"leaving"` // its address goes away, or is gone: connections take others
	Left    int             `json:"left_s"`  // seconds until that; 0: it is gone, or no end is known

	Granted   bool        `json:"limit_granted"` // the hub has taken note of these limits
	PeerUp    config.Rate `json:"peer_limit_up"` // that the hub sets for what this device sends; 0: none
	PeerDown  config.Rate `json:"peer_limit_down"`
	LimitUsed config.Rate `json:"limit_used"` // what this device keeps to when it sends: the lower of both
	Won       uint64      `json:"won"`        // connections that were asked for over several links, and answered over this first

	Forward  float64 `json:"forward_ms"` // latency to the hub, and from it; only their differences between links count; 0: not known
	Backward float64 `json:"backward_ms"`
}

// LinkChange says what to change of a link; nil: as it is.
type LinkChange struct {
	On        *bool        `json:"on,omitempty"`
	Role      *config.Role `json:"role,omitempty"`
	LimitUp   *config.Rate `json:"limit_up,omitempty"`
	LimitDown *config.Rate `json:"limit_down,omitempty"`
	Cap       *config.Size `json:"cap,omitempty"`
	ResetDay  *int         `json:"reset_day,omitempty"`
	Price     *float64     `json:"price,omitempty"`

	Private *bool            `json:"private,omitempty"`
	Deny    *config.Networks `json:"deny,omitempty"`
	Address *config.Address  `json:"address,omitempty"`
}

// Apply returns a link's settings with what is to change changed.
func (c LinkChange) Apply(l config.Link) config.Link {
	replace(&l.On, c.On)
	replace(&l.Role, c.Role)
	replace(&l.LimitUp, c.LimitUp)
	replace(&l.LimitDown, c.LimitDown)
	replace(&l.Cap, c.Cap)
	replace(&l.ResetDay, c.ResetDay)
	replace(&l.Price, c.Price)
	replace(&l.Private, c.Private)
	replace(&l.Deny, c.Deny)
	replace(&l.Address, c.Address)
	return l
}

func replace[T any](is, to *T) {
	if to != nil {
		*is = *to
	}
}

// Flow is datagrams of one protocol between two addresses, of the last minute.
type Flow struct {
	Protocol string         `json:"protocol"` // udp, icmp or a number
	Source   netip.AddrPort `json:"source"`
	Target   netip.AddrPort `json:"target"`
	Sent     uint64         `json:"sent"` // octets of packets
	Received uint64         `json:"received"`
	Last     time.Time      `json:"last"`
}

// Joined is what came of joining.
type Joined struct {
	Hub    string `json:"hub"`
	Device string `json:"device"` // the name of this device at the hub
}

// Backend is what stands behind the API.
type Backend interface {
	State() State
	Up(ctx context.Context) error
	Down(ctx context.Context) error
	Set(ctx context.Context, change Change) error
	SetLink(ctx context.Context, name string, change LinkChange) error
	Join(ctx context.Context, code string) (Joined, error)
	Leave(ctx context.Context) error
	Connections(ctx context.Context) ([]Connection, error)
	Connection(ctx context.Context, number int) (Connection, error)
	CloseConnection(ctx context.Context, number int) error
	OpenSubflow(ctx context.Context, number int, o SubflowOpen) (id int, err error)
	ChangeSubflow(ctx context.Context, number, id int, change SubflowChange) error
	UseLink(ctx context.Context, number int, link string, use bool) error
	// Events tells what happens to a connection's subflows, until it is over, which gives nil, or tell fails.
	Events(ctx context.Context, number int, tell func(Event) error) error
	Flows(ctx context.Context) ([]Flow, error)
}
