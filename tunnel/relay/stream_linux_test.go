package relay

import (
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fastcloses is how many connections of Multipath TCP this computer has ended with MP_FASTCLOSE; false: its kernel does not
// count them.
func fastcloses(t *testing.T) (n int, counted bool) {
	t.Helper()
	text, err := os.ReadFile("/proc/net/netstat")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		for i, name := range names {
			if name == "MPFastcloseTx" && i < len(fields) {
				n, err = strconv.Atoi(fields[i])
				return n, err == nil
			}
		}
		names = fields
	}
	return 0, false
}

// pair is a connection of the kernel's.
func pair(t *testing.T, multipath bool) (near *netStream, far *net.TCPConn) {
	t.Helper()
	var here net.ListenConfig
	here.SetMultipathTCP(multipath)
	l, err := here.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var d net.Dialer
	d.SetMultipathTCP(multipath)
	c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, end := range []net.Conn{c, a} {
		t.Cleanup(func() { end.Close() })
		end.SetDeadline(time.Now().Add(20 * time.Second))
		if is, err := end.(*net.TCPConn).MultipathTCP(); err != nil || is != multipath {
			t.Skip("this kernel has no Multipath TCP")
		}
	}
	return NetStream(c.(*net.TCPConn)).(*netStream), a.(*net.TCPConn)
}

// What disconnect and Abort do reaches the other end as a reset, of Multipath TCP as well: also when nothing is under way, and
// when an end has ended.
func TestReset(t *testing.T) {
	for what, reset := range map[string]func(*netStream){
		"disconnect": func(s *netStream) { disconnect(s.raw) },
		"Abort":      func(s *netStream) { s.Abort(nil) },
	} {
		for _, multipath := range []bool{false, true} {
			for when, before := range map[string]func(near *netStream, far *net.TCPConn){
				"idle": func(*netStream, *net.TCPConn) {},
				"octets were read": func(near *netStream, far *net.TCPConn) {
					far.Write([]byte("hello"))
					io.ReadFull(near, make([]byte, 5))
				},
				"octets are unread": func(near *netStream, far *net.TCPConn) {
					far.Write([]byte("hello"))
					near.WaitRead()
				},
				"the other end has ended": func(near *netStream, far *net.TCPConn) {
					far.CloseWrite()
					near.WaitRead()
				},
			} {
				near, far := pair(t, multipath)
				sent, counted := fastcloses(t)
				before(near, far)
				reset(near)
				if n, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("%s, multipath %v, %s: the other end read %d octets, %v", what, multipath, when, n, err)
				}
				if now, _ := fastcloses(t); multipath && counted && now == sent {
					t.Errorf("%s, %s: no MP_FASTCLOSE was sent", what, when)
				}
			}
		}
	}
}
