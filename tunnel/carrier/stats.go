package carrier

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

// Stats tell what a carrier has carried.
type Stats struct {
	Received, Sent uint64         // octets of UDP payload on the wire
	Dropped        uint64         // packets for which Send found no room, or longer than the MTU
	Handshake      time.Time      // when the session was made; zero: none yet
	Endpoint       netip.AddrPort // where the peer was heard last, or is looked for; zero: unknown
}

// A survey is what a device tells of itself and all its peers. Nothing less can be asked for.
type survey struct {
	port  uint16
	peers map[Key]Stats
}

func ask(d *device.Device) survey {
	s := survey{peers: map[Key]Stats{}}
	var text bytes.Buffer
	if d.IpcGetOperation(&text) != nil {
		return s
	}
	var key Key
	var peer Stats
	var seconds int64
	keep := func() {
		if !key.IsZero() {
			s.peers[key] = peer
		}
	}
	lines := bufio.NewScanner(&text)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), "=")
		n, _ := strconv.ParseUint(value, 10, 64)
		switch name {
		case "listen_port":
			s.port = uint16(n)
		case "public_key":
			keep()
			peer = Stats{}
			hex.Decode(key[:], []byte(value))
		case "endpoint":
			peer.Endpoint, _ = netip.ParseAddrPort(value)
		case "last_handshake_time_sec":
			seconds = int64(n)
		case "last_handshake_time_nsec":
			if seconds > 0 || n > 0 {
				peer.Handshake = time.Unix(seconds, int64(n))
			}
		case "rx_bytes":
			peer.Received = n
		case "tx_bytes":
			peer.Sent = n
		}
	}
	keep()
	return s
}
