//go:build !linux

package native

import (
	"fmt"
	"net"
	"runtime"
)

// A Carrier sends packets out of a link and takes what comes in there. On this system there is none.
type Carrier struct{}

// Open says that this system is not supported.
func Open(cfg Config) (*Carrier, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("native carrier on %s: %s is not supported, only Linux is", cfg.Link, runtime.GOOS)
}

// Send is for carriers that are open.
func (*Carrier) Send([][]byte) error { return net.ErrClosed }

// Counters tells what was carried so far: nothing.
func (*Carrier) Counters() Counters { return Counters{} }

// Close does nothing.
func (*Carrier) Close() error { return nil }
