package platform_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// inSpace runs the test that calls it once more, as a child process in a network namespace of its own, and returns true there.
// In the parent it returns false when the child is done. The system's own namespace is never touched.
func inSpace(t *testing.T) bool {
	t.Helper()
	const variable = "TANDEM_PLATFORM_OUTSIDE"
	if outside := os.Getenv(variable); outside != "" {
		if here := namespaces(t); strings.Fields(here)[0] == strings.Fields(outside)[0] || strings.Fields(here)[1] == strings.Fields(outside)[1] {
			t.Fatalf("in the namespaces %s of the parent", here)
		}
		shell(t, "ip link set lo up")
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("makes a network namespace, which takes root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("makes a network namespace, which takes ip(8)")
	}
	name := fmt.Sprintf("tandem-%d-plat-%s", os.Getpid(), strings.ToLower(t.Name()))
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		t.Skipf("cannot make a network namespace: %v: %s", err, out)
	}
	defer shell(t, "ip netns delete "+name)
	child := exec.Command("ip", "netns", "exec", name, "/proc/self/exe")
	child.Args = append(child.Args[:len(child.Args)-1], os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", "60s")
	child.Env = append(os.Environ(), variable+"="+namespaces(t))
	out, err := child.CombinedOutput()
	t.Logf("in %s:\n%s", name, out)
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("failed in its namespace: %v", err)
	}
	return false
}

// namespaces names the network and mount namespaces of this process.
func namespaces(t *testing.T) string {
	net, err1 := os.Readlink("/proc/self/ns/net")
	mnt, err2 := os.Readlink("/proc/self/ns/mnt")
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return net + " " + mnt
}

// shell runs commands and returns what they print.
func shell(t *testing.T, commands ...string) string {
	t.Helper()
	out, err := try(commands...)
	if err != nil {
		t.Fatalf("%q: %v: %s", commands, err, out)
	}
	return out
}

func try(commands ...string) (string, error) {
	out, err := exec.Command("sh", "-ec", strings.Join(commands, "\n")).CombinedOutput()
	return string(out), err
}

// addLink makes a link of that name, whose other end is up and has no address.
func addLink(t *testing.T, name string) {
	t.Helper()
	shell(t, "ip link add "+name+" type veth peer name far-"+name, "ip link set far-"+name+" up")
}

// home gives the namespace two links: wlan0 with both families, wwan0 with IPv4 through a gateway that is outside its prefix.
func home(t *testing.T) {
	t.Helper()
	shell(t, "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0") // link-local addresses work at once
	addLink(t, "wlan0")
	addLink(t, "wwan0")
	shell(t, "sysctl -qw net.ipv4.conf.wlan0.rp_filter=1",
		"ip addr add 192.168.1.5/24 dev wlan0", "ip addr add 2001:db8:1::5/64 dev wlan0 nodad", "ip link set wlan0 up",
		"ip route add default via 192.168.1.1 dev wlan0 metric 100", "ip -6 route add default via fe80::1 dev wlan0",
		"ip addr add 10.64.7.8/32 dev wwan0", "ip link set wwan0 up", "ip route add default via 10.64.0.1 dev wwan0 onlink metric 700",
		"ip rule add priority 100 to 198.51.100.0/24 table 99", "ip route add default dev wlan0 table 99")
	// The kernel gives each of the four ends a link-local address in its own time.
	shell(t, "until [ $(ip -6 -o addr show scope link | wc -l) -ge 4 ]; do sleep 0.02; done")
}

// dump is everything that routing may touch.
func dump(t *testing.T) string {
	t.Helper()
	return shell(t, "ip -4 rule; ip -6 rule", "ip -4 route show table all; ip -6 route show table all | grep -v anycast | sort",
		"ip -4 -o addr | sed 's/valid_lft.*//'", "sysctl -a 2>/dev/null | grep -E 'conf.*(rp_filter|arp_ignore|arp_announce|disable_ipv6|addr_gen_mode)'", "cat /etc/resolv.conf")
}

// mountResolv has a file of the test stand at /etc/resolv.conf, as containers have.
func mountResolv(t *testing.T, text string) {
	t.Helper()
	name := t.TempDir() + "/resolv.conf"
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount(name, "/etc/resolv.conf", "", syscall.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount("/etc/resolv.conf", 0) })
}
