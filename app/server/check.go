package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"tandem/tunnel/relay"
)

// A Finding is one thing that a hub needs, or can use.
type Finding struct {
	What      string
	OK        bool
	Essential bool   // no hub runs without
	Text      string // how it is, and when it is not OK what to do
}

// Check finds out what a hub with this configuration would lack. It changes nothing.
func Check(cfg Config) []Finding {
	four, six := hasRoute("udp4", internet4), hasRoute("udp6", internet6)
	return []Finding{
		checkConfig(cfg),
		checkDirectory(cfg.State),
		checkListen(cfg),
		checkEndpoints(cfg),
		checkRoute("IPv4", four, six, "devices would reach IPv6 addresses only"),
		checkRoute("IPv6", six, four, "devices would reach IPv4 addresses only"),
		checkResolvers(cfg),
		checkPing(),
		checkFiles(),
	}
}

func found(what string, essential bool, err error, text string) Finding {
	f := Finding{What: what, OK: err == nil, Essential: essential, Text: text}
	if err != nil {
		f.Text = err.Error()
	}
	return f
}

func checkConfig(cfg Config) Finding {
	return found("options", true, cfg.validate(), "understood")
}

// checkDirectory looks for the state directory, or the directory in which it would be made.
func checkDirectory(dir string) Finding {
	const what = "state directory"
	if info, err := os.Stat(dir); errors.Is(err, syscall.ENOTDIR) || err == nil && !info.IsDir() {
		return found(what, true, fmt.Errorf("%s is no directory: give --state another one", dir), "")
	}
	err := checkMode(dir, 0o700)
	switch {
	case err == nil:
		if err = checkMode(filepath.Join(dir, StoreName), 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return found(what, true, err, "")
		}
		if err == nil {
			err = readable(filepath.Join(dir, StoreName))
			return found(what, true, err, dir+", with a store")
		}
		return found(what, true, writable(dir), dir+", empty")
	case !errors.Is(err, fs.ErrNotExist):
		return found(what, true, err, "")
	}
	parent := filepath.Dir(dir)
	for {
		if _, err := os.Stat(parent); err == nil || parent == filepath.Dir(parent) {
			break
		}
		parent = filepath.Dir(parent)
	}
	return found(what, true, writable(parent), dir+", to be made")
}

func readable(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("%s cannot be opened: run the hub as the user who owns it (%w)", path, err)
	}
	return f.Close()
}

// writable reports whether a directory is one, and looks like this user's to write in.
func writable(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return err
	case info.Mode().Perm()&0o222 == 0:
		return fmt.Errorf("%s is read-only: give --state another directory", dir)
	}
	return nil
}

func checkListen(cfg Config) Finding {
	const what = "UDP port"
	listen := cfg.listen()
	if s, err := dialCommands(filepath.Join(cfg.State, SocketName)); err == nil {
		s.Close()
		return found(what, true, nil, "a hub is running")
	}
	network := "udp"
	if listen.Addr().Is4() {
		network = "udp4"
	}
	c, err := net.ListenPacket(network, listen.String())
	if errors.Is(err, syscall.EAFNOSUPPORT) && listen.Addr().IsUnspecified() {
		c, err = net.ListenPacket("udp4", fmt.Sprintf(":%d", listen.Port()))
	}
	if err != nil {
		said := listenError(listen, err)
		if errors.Is(err, syscall.EADDRINUSE) {
			said = fmt.Errorf("%w; it may be the hub itself, run by another user or with another --state", said)
		}
		return found(what, true, said, "")
	}
	c.Close()
	return found(what, true, nil, fmt.Sprintf("%d is free", listen.Port()))
}

// checkEndpoints looks whether devices will find the hub where they are told to.
func checkEndpoints(cfg Config) Finding {
	listen := cfg.listen()
	around := surroundings{list: net.InterfaceAddrs}
	endpoints := cfg.endpoints(listen.Port(), around.current(false).Own)
	if doubt := cfg.doubt(listen.Port(), endpoints); doubt != "" {
		return found("endpoints", false, errors.New(doubt), "")
	}
	if len(endpoints) == 0 {
		return found("endpoints", false, errors.New("this machine has no address that devices could find: say --endpoint NAME:PORT"), "")
	}
	return found("endpoints", false, nil, "devices are told "+strings.Join(endpoints, ", "))
}

// checkRoute looks for a default route of a family. A hub needs one of the two.
func checkRoute(family string, has, other bool, without string) Finding {
	if has {
		return found(family, false, nil, "there is a default route")
	}
	return found(family, !other, errors.New("there is no default route: "+without), "")
}

func checkResolvers(cfg Config) Finding {
	hosts := newResolver(cfg.Upstreams, nil).upstreams()
	if len(hosts) > 0 {
		return found("DNS", false, nil, "questions go to "+strings.Join(hosts, ", "))
	}
	return found("DNS", false, fmt.Errorf("%s names no server: devices would find no names", resolvConf), "")
}

func checkPing() Finding {
	err := relay.PingSupport()
	if err != nil {
		err = fmt.Errorf("devices cannot ping: sysctl -w net.ipv4.ping_group_range=\"0 2147483647\" permits it (%w)", err)
	}
	return found("ping", false, err, "echo requests are relayed")
}

func checkFiles() Finding {
	n := openFiles("/proc/self/limits")
	if b, _ := newBudgets(n); b.total/2 < connectionsMax {
		return found("open files", false, fmt.Errorf("%d only: a device has %d connections at most, not %d; raise LimitNOFILE", n, b.total/2, connectionsMax), "")
	}
	return found("open files", false, nil, fmt.Sprint(n))
}
