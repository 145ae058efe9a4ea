package capture

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/waiter"
)

// An application that is accepted talks with us, as if we were its target.
func TestEcho(t *testing.T) {
	h := newHost(t, 1500, nil)
	for _, target := range []netip.AddrPort{target4, target6} {
		answer := h.dial(target)
		o := h.offer()
		if o.Target() != target || o.Source().Addr() != host4 && o.Source().Addr() != host6 {
			t.Errorf("the offer is of %v for %v", o.Source(), o.Target())
		}
		select {
		case <-answer:
			t.Fatal("the application is connected before the offer was accepted")
		default:
		}
		s, err := o.Accept()
		must(t, err)
		a := <-answer
		if s.LocalAddr().String() != target.String() || s.RemoteAddr().String() != a.LocalAddr().String() {
			t.Errorf("the stream is from %v to %v", s.RemoteAddr(), s.LocalAddr())
		}
		write(t, a, "hello")
		b := make([]byte, 100)
		n, err := s.Read(b)
		if must(t, err); string(b[:n]) != "hello" {
			t.Errorf("read %q", b[:n])
		}
		write(t, s, "world")
		n, err = a.Read(b)
		if must(t, err); string(b[:n]) != "world" {
			t.Errorf("the application read %q", b[:n])
		}
		s.Close()
		if _, err := a.Read(b); err != io.EOF {
			t.Errorf("after Close the application reads %v", err)
		}
		a.Close()
	}
	if n := h.capture.Counters(); n.Offers != 2 || n.Accepted != 2 {
		t.Errorf("%+v", n)
	}
}

// Either end may close its direction and go on reading; long streams arrive whole, in any segment size.
func TestBulkAndHalfClose(t *testing.T) {
	for _, c := range []struct {
		mtu    int
		target netip.AddrPort
	}{{1500, target4}, {1500, target6}, {1280, target4}, {65535, target4}, {65535, target6}} {
		h := newHost(t, c.mtu, nil)
		a, s := h.connect(c.target)
		up, down := bytes.Repeat([]byte("upload "), 500_000), bytes.Repeat([]byte("download"), 500_000)
		sent := make(chan error, 1)
		go func() {
			_, err := a.Write(up)
			sent <- errors.Join(err, a.CloseWrite())
		}()
		got, err := io.ReadAll(s)
		must(t, errors.Join(err, <-sent))
		if !bytes.Equal(got, up) {
			t.Errorf("%+v: the upload was altered", c)
		}
		go func() {
			_, err := s.Write(down)
			sent <- errors.Join(err, s.CloseWrite())
		}()
		got, err = io.ReadAll(a)
		must(t, errors.Join(err, <-sent))
		if !bytes.Equal(got, down) {
			t.Errorf("%+v: the download was altered", c)
		}
		if err := s.WaitEnd(); err != nil {
			t.Errorf("an end in order: %v", err)
		}
		if n := h.capture.Counters(); n.Segments+n.DeviceErrors+n.Malformed > 0 {
			t.Errorf("%+v: %+v", c, n)
		}
	}
}

// A reset is an error, again and again, and never the end.
func TestResetByApplication(t *testing.T) {
	h := newHost(t, 1500, nil)
	for _, first := range []string{"read", "write", "wait"} {
		a, s := h.connect(target4)
		write(t, a, "x")
		must(t, s.WaitRead())
		a.ep.Abort()
		s.wait(waiter.EventHUp)
		if first == "wait" {
			if err := s.WaitEnd(); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("WaitEnd: %v", err)
			}
		}
		if first == "write" {
			if _, err := s.Write([]byte("y")); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("first Write: %v", err)
			}
		}
		b := make([]byte, 10)
		if n, err := s.Read(b); n != 1 || err != nil {
			t.Errorf("what came before the reset: %d, %v", n, err)
		}
		for range 3 {
			if _, err := s.Read(b); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("Read: %v", err)
			}
			if _, err := s.Write(b); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("Write: %v", err)
			}
		}
	}
}

// An application that has closed its direction and then resets is heard of though nobody reads.
func TestResetAfterEnd(t *testing.T) {
	h := newHost(t, 1500, nil)
	a, s := h.connect(target4)
	must(t, a.CloseWrite())
	if _, err := s.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	over := make(chan error)
	go func() { over <- s.WaitEnd() }()
	a.ep.Abort()
	if err := <-over; !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("WaitEnd: %v", err)
	}
	if _, err := s.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Write: %v", err)
	}
}

// Abort resets the application's connection, whatever was closed before, and ends what waits here.
func TestAbort(t *testing.T) {
	h := newHost(t, 1500, nil)
	for _, closeWrite := range []bool{false, true} {
		a, s := h.connect(target6)
		read, wait := make(chan error), make(chan error)
		go func() { _, err := s.Read(make([]byte, 1)); read <- err }()
		go func() { wait <- s.WaitEnd() }()
		if closeWrite {
			must(t, s.CloseWrite())
			if _, err := a.Read(make([]byte, 1)); err != io.EOF {
				t.Fatal(err)
			}
		}
		s.Abort(errors.New("the far side is gone"))
		for _, c := range []chan error{read, wait} {
			if err := <-c; !errors.Is(err, net.ErrClosed) {
				t.Errorf("what waited: %v", err)
			}
		}
		a.over()
		if _, err := a.Write([]byte("x")); err == nil {
			t.Error("the application's connection lives on")
		}
		must(t, s.Close())
		must(t, s.Close())
		if _, err := s.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write after Abort: %v", err)
		}
	}
}

func TestDeadlines(t *testing.T) {
	h := newHost(t, 1500, nil)
	a, s := h.connect(target4)
	must(t, s.SetReadDeadline(time.Now()))
	_, err := s.Read(make([]byte, 1))
	var timeout net.Error
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("Read: %v", err)
	}
	must(t, s.SetWriteDeadline(time.Now()))
	if _, err := s.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write: %v", err)
	}
	must(t, s.SetDeadline(time.Time{}))
	write(t, s, "x")
	if n, err := a.Read(make([]byte, 9)); n != 1 {
		t.Errorf("after the deadline: %d, %v", n, err)
	}
	must(t, s.CloseWrite())
	if _, err := s.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) || !strings.Contains(err.Error(), "write tcp 192.0.2.1:80") {
		t.Errorf("Write after CloseWrite: %v", err)
	}
}
