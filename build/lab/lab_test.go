package lab

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestPcap(t *testing.T) {
	var b bytes.Buffer
	writePcapHeader(&b, 4)
	writePcapRecord(&b, time.Unix(1, 2), []byte{5, 6, 7, 8, 9}, 4)
	want := []byte{
		0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 101, 0, 0, 0,
		1, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 5, 6, 7, 8,
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("got % x\nwant % x", b.Bytes(), want)
	}
}

func TestCaptureHasRoomForSoMany(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a.pcap")
	c, err := newCapture(name, 100, 2)
	if err != nil {
		t.Fatal(err)
	}
	c.record([][]byte{{1}, {2}, {3}})
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(name); len(got) != 24+2*17 {
		t.Errorf("the file has %d octets, not those of 2 packets", len(got))
	}
}

func TestSpaceOwner(t *testing.T) {
	for _, c := range []struct {
		name string
		pid  int
		ok   bool
	}{
		{"tandem-123-far", 123, true},
		{"tandem-far", 0, false},
		{"tandem-x-far", 0, false},
		{"docker-123-far", 0, false},
	} {
		if pid, ok := spaceOwner(c.name); ok != c.ok || ok && pid != c.pid {
			t.Errorf("%s: %d, %t", c.name, pid, ok)
		}
	}
}

func TestAddresses(t *testing.T) {
	if got := address(1, far, false).String(); got != "10.77.1.2" {
		t.Error(got)
	}
	if got := address(1, near, true).String(); got != "fd77:0:0:1::1" {
		t.Error(got)
	}
}

func TestCountersTellWhatIsWrong(t *testing.T) {
	c := counters{"MPJoinSynTx": 1, "DataCsumErr": 2, "MPRstTx": 1}
	err := c.check([]string{"MPJoinSynTx", "MPJoinSynAckRx"}, []string{"MPRstTx"})
	if err == nil || err.Error() != "counters: MPJoinSynAckRx is 0, DataCsumErr is 2" {
		t.Error(err)
	}
	if err := c.check([]string{"DataCsumErr"}, []string{"MPRstTx"}); err != nil {
		t.Error("what is needed is not forbidden:", err)
	}
}

// pair returns the ends of a TCP connection over the loopback device.
func pair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return dialed.(*net.TCPConn), accepted.(*net.TCPConn)
}

func talkOver(t *testing.T, a, b stream, forA, forB talk) (fromA, fromB report) {
	t.Helper()
	var progress [2]atomic.Int64
	done := make(chan report, 1)
	go func() { done <- converse(t.Context(), a, forA, &progress[0]) }()
	fromB = converse(t.Context(), b, forB, &progress[1])
	return <-done, fromB
}

func TestTalk(t *testing.T) {
	a, b := pair(t)
	question, answer := talk{Seed: 1, Send: 300_000}, talk{Seed: 2, Send: 100_000, Answer: true}
	fromA, fromB := talkOver(t, a, b, question, answer)
	if err := fromA.check(answer); err != nil {
		t.Error(err)
	}
	if err := fromB.check(question); err != nil {
		t.Error(err)
	}
	if err := fromB.check(talk{Seed: 3, Send: 300_000}); err == nil || !strings.Contains(err.Error(), "digest") {
		t.Error("octets of another seed pass:", err)
	}
	if err := fromB.check(talk{Seed: 1, Send: 300_001}); err == nil || !strings.Contains(err.Error(), "received 300000") {
		t.Error("a short stream passes:", err)
	}
}

// A stuck connection ends with its context.
func TestTalkEndsWithContext(t *testing.T) {
	a, b := pair(t)
	defer b.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var progress atomic.Int64
	if r := converse(ctx, a, talk{Send: 1 << 30}, &progress); !strings.Contains(r.Err, "timeout") {
		t.Errorf("ended with %q", r.Err)
	}
}

func TestMisuse(t *testing.T) {
	for _, args := range [][]string{{}, {"nothing"}, {"kernel", "nothing:one"}, {"-x"}} {
		if code := Main(t.Context(), args, io.Discard); code != 2 {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}
