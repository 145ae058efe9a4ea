package client

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"

	"tandem/app/config"
)

// Kinds of proxies of other makes.
const (
	SOCKS5   = "socks5"   // RFC 1928
	Convert  = "convert"  // RFC 8803
	Implicit = "implicit" // on the way, if at all: targets are asked themselves, and Endpoint tells whether links work
)

// An Upstream is a proxy of another make, which takes the place of a hub: whatever speaks Multipath TCP. Its connections
// leave the links as they are, without a tunnel.
type Upstream struct {
	Kind           string
	Endpoint       string // HOST:PORT
	User, Password string // of SOCKS5; no user: it wants none
}

// ParseUpstream reads KIND://[USER:PASSWORD@]HOST:PORT. Its errors do not repeat the password.
func ParseUpstream(text string) (*Upstream, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return nil, errors.New("a proxy is convert://HOST:PORT, socks5://[USER:PASSWORD@]HOST:PORT or implicit://HOST:PORT")
	}
	up := &Upstream{Kind: u.Scheme, Endpoint: u.Host}
	if u.User != nil {
		up.User = u.User.Username()
		up.Password, _ = u.User.Password()
	}
	return up, up.check()
}

// check says what is wrong with an upstream.
func (u *Upstream) check() error {
	host, port, err := net.SplitHostPort(u.Endpoint)
	number, wrong := strconv.ParseUint(port, 10, 16)
	switch {
	case u.Kind != SOCKS5 && u.Kind != Convert && u.Kind != Implicit:
		return fmt.Errorf("a proxy is of the kind %s, %s or %s, not %q", Implicit, Convert, SOCKS5, u.Kind)
	case err != nil || wrong != nil || host == "" || number == 0:
		return fmt.Errorf("a proxy is at HOST:PORT, such as 203.0.113.7:1080, not at %q", u.Endpoint)
	case u.Kind != SOCKS5 && u.User != "":
		return fmt.Errorf("a proxy of the kind %s knows no users", u.Kind)
	case u.User == "" && u.Password != "":
		return errors.New("a password without a user")
	case u.User != "" && u.Password == "":
		return errors.New("a user without a password, which no proxy takes (RFC 1929)")
	}
	return nil
}

// membership is what stands in for that of a hub.
func (u *Upstream) membership() *config.Membership {
	return &config.Membership{HubName: u.Kind, Endpoints: []string{u.Endpoint}}
}

// errUpstream is what joining and leaving fail with.
var errUpstream = errors.New("this daemon uses a proxy of another make and no hub: it was started with --hub, and has to be without")
