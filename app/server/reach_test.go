package server

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"tandem/app/invite"
	"tandem/tunnel/carrier"
)

// rulesForTest are those of a hub at 203.0.113.5/24 and 198.51.100.9/28 with IPv6 2001:db8:5::9/64.
func rulesForTest() Rules {
	r := Rules{Inner6: invite.Inner6(carrier.Key{1})}
	for _, s := range []string{"203.0.113.5/24", "198.51.100.9/28", "2001:db8:5::9/64", "fe80::1/64", "127.0.0.1/8", "::1/128", "192.0.2.9/32"} {
		ip, n, err := net.ParseCIDR(s)
		if err != nil {
			panic(err)
		}
		r.add([]net.Addr{&net.IPNet{IP: ip, Mask: n.Mask}})
	}
	return r
}

func TestReach(t *testing.T) {
	const (
		always = iota // reached
		lan           // reached with --allow-lan
		never
	)
	hub4, hub6 := invite.HubAddrs(carrier.Key{1})
	slot4, slot6 := invite.SlotAddrs(carrier.Key{1}, 7, 3)
	open4, open6 := invite.InviteAddrs(carrier.Key{1}, 5)
	for _, c := range []struct {
		target string
		want   int
	}{
		{"93.184.216.34", always}, {"2606:2800:220:1::1", always}, {"198.17.255.255", always}, {"198.20.0.0", always},
		{"8.8.8.8", always}, {"126.255.255.255", always}, {"128.0.0.0", always}, {"223.255.255.255", always},
		{"11.0.0.0", always}, {"172.15.255.255", always}, {"172.32.0.0", always}, {"100.128.0.0", always}, {"fe00::1", always},

		{"0.0.0.0", never}, {"0.255.255.255", never}, {"127.0.0.1", never}, {"127.255.255.255", never}, {"::1", never}, {"::", never},
		{"169.254.0.1", never}, {"169.254.169.254", never}, {"fe80::1", never}, {"febf::1", never}, {"fe80::1%eth0", never},
		{"224.0.0.1", never}, {"239.255.255.255", never}, {"ff02::1", never}, {"ff0e::1", never}, {"255.255.255.255", never},

		{"203.0.113.5", never}, {"198.51.100.9", never}, {"2001:db8:5::9", never}, {"192.0.2.9", never}, // its own
		{"203.0.113.255", never}, {"198.51.100.15", never}, // broadcast on its links
		{"203.0.113.6", lan}, {"198.51.100.1", lan}, {"198.51.100.16", always}, {"2001:db8:5::1", lan}, {"192.0.2.8", always},
		{"2001:db8:6::1", always}, {"203.0.113.0", never}, {"198.51.100.0", never}, {"2001:db8:5::", never},
		{"192.0.0.192", lan}, {"192.0.1.1", always}, {"fec0::1", lan}, {"feff::1", lan},

		{hub4.String(), never}, {hub6.String(), never}, {slot4.String(), never}, {slot6.String(), never},
		{open4.String(), never}, {open6.String(), never}, {"198.18.0.2", never}, {"198.19.255.255", never},

		{"10.0.0.1", lan}, {"10.255.255.255", lan}, {"172.16.0.1", lan}, {"172.31.255.255", lan}, {"192.168.0.1", lan},
		{"192.168.255.254", lan}, {"100.64.0.1", lan}, {"100.127.255.255", lan}, {"fc00::1", lan}, {"fdff::1", lan},

		{"64:ff9b::5db8:d822", always}, {"64:ff9b::7f00:1", never}, {"64:ff9b::a00:1", lan}, {"64:ff9b::cb00:7105", never},
		{"64:ff9b::a9fe:a9fe", never}, {"64:ff9b::c612:1", never}, {"64:ff9b:1::7f00:1", lan},
		{"2002:5db8:d822::1", always}, {"2002:7f00:1::1", never}, {"2002:a00:1::1", lan}, {"2002:cb00:7105::1", never}, {"2002:e000:1::", never},
		{"::ffff:93.184.216.34", always}, {"::ffff:127.0.0.1", never}, {"::ffff:10.0.0.1", lan}, {"::ffff:203.0.113.5", never},
		{"::ffff:192.168.1.1", lan}, {"::ffff:0.0.0.0", never},
		{"::93.184.216.34", always}, {"::127.0.0.1", never}, {"::10.0.0.1", lan}, {"::203.0.113.5", never}, {"::2", never},
	} {
		target := netip.AddrPortFrom(netip.MustParseAddr(c.target), 443)
		for _, network := range []string{"tcp", "udp", "icmp"} {
			r := rulesForTest()
			err := r.Check(network, target)
			r.LAN = true
			local := r.Check(network, target)
			if (err == nil) != (c.want == always) || (local == nil) != (c.want == always || c.want == lan) {
				t.Errorf("%s over %s: %v; with the local network: %v", c.target, network, err, local)
			}
			if err != nil && !errors.Is(err, os.ErrPermission) {
				t.Errorf("%s: %v is no os.ErrPermission", c.target, err)
			}
		}
	}
}

func TestReachMail(t *testing.T) {
	mail := netip.MustParseAddrPort("93.184.216.34:25")
	for _, c := range []struct {
		what, network string
		target        netip.AddrPort
		smtp          bool
		ok            bool
	}{
		{"mail", "tcp", mail, false, false},
		{"mail allowed", "tcp", mail, true, true},
		{"mail in disguise", "tcp", netip.MustParseAddrPort("[64:ff9b::5db8:d822]:25"), false, false},
		{"not TCP", "udp", mail, false, true},
		{"submission", "tcp", netip.MustParseAddrPort("93.184.216.34:587"), false, true},
		{"mail to the hub itself", "tcp", netip.MustParseAddrPort("203.0.113.5:25"), true, false},
	} {
		r := rulesForTest()
		r.SMTP = c.smtp
		if err := r.Check(c.network, c.target); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func TestReachNowhere(t *testing.T) {
	r := rulesForTest()
	if r.Check("tcp", netip.AddrPort{}) == nil {
		t.Error("no address is reached")
	}
}

// What interfaces have changes while the hub runs; what cannot be listed stays forbidden.
func TestSurroundingsFollow(t *testing.T) {
	var list []net.Addr
	failing := errors.New("no list yet")
	s := surroundings{list: func() ([]net.Addr, error) { return list, failing }}
	own := netip.MustParseAddrPort("203.0.113.5:80")
	if s.current(true).Check("tcp", own) == nil {
		t.Error("reached when nobody knows whose it is")
	}
	s.at, failing = time.Time{}, nil
	if err := s.current(false).Check("tcp", own); err != nil {
		t.Fatalf("before it is ours: %v", err)
	}
	list = []net.Addr{&net.IPNet{IP: net.ParseIP("203.0.113.5"), Mask: net.CIDRMask(24, 32)}}
	if err := s.current(false).Check("tcp", own); err != nil {
		t.Errorf("asked again at once: %v", err)
	}
	s.at = s.at.Add(-2 * interfacesLife)
	if s.current(true).Check("tcp", own) == nil {
		t.Error("a new address of the hub itself is reached")
	}
	failing, list = errors.New("no list"), nil
	s.at = time.Now().Add(-2 * interfacesLife)
	if s.current(true).Check("tcp", own) == nil {
		t.Error("forgotten when it could not be listed")
	}
}
