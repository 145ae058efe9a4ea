//go:build !linux

package platform

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
)

// New returns a host whose every method says that this system is not supported.
func New(Config) (Host, error) { return host{}, nil }

type host struct{}

// errSystem says what is missing and what works instead.
var errSystem = fmt.Errorf("links, routes and the TUN device of %s are not supported: run tandem on Linux; \"tandem demo\" works here", runtime.GOOS)

func (host) Links(context.Context, func([]Link)) error { return errSystem }

func (host) Pin(string) func(network, address string, c syscall.RawConn) error {
	return func(string, string, syscall.RawConn) error { return errSystem }
}

func (host) Tun(string, int) (Tun, error) { return nil, errSystem }

func (host) Route(Routing) error { return errSystem }

// Check says that this system is not supported.
func Check(Config) []Finding { return []Finding{{Name: "system", Detail: errSystem.Error()}} }

// CheckTun says that this system is not supported.
func CheckTun() []Finding { return Check(Config{}) }

// CheckRaw says that this system is not supported.
func CheckRaw() Finding { return Check(Config{})[0] }

// CheckPorts says that this system is not supported.
func CheckPorts(uint16) Finding { return Check(Config{})[0] }

// CheckLinks says that this system is not supported.
func CheckLinks(cfg Config) []Finding { return Check(cfg) }
