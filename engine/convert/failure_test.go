package convert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDelay(t *testing.T) {
	for _, c := range []struct {
		value string
		want  time.Duration
	}{
		{"", 30 * time.Second},
		{"00", 30 * time.Second},
		{"01", time.Second},
		{"ff", 255 * time.Second},
		{"00 00000000", 30 * time.Second},
		{"00 0000012c", 300 * time.Second},
		{"01 00000000", time.Hour},
		{"ff ffffffff ffffffff ffffffff", time.Hour},
	} {
		if got := (Failure{ResourceExceeded, octets(t, c.value)}).Delay(); got != c.want {
			t.Errorf("%s: %v, want %v", c.value, got, c.want)
		}
	}
	for wait, want := range map[time.Duration]byte{-1: 0, 0: 0, 1: 1, time.Second: 1, 1500 * time.Millisecond: 2, time.Hour: 255} {
		if f := Delayed(NetworkFailure, wait); f.Code != NetworkFailure || !bytes.Equal(f.Value, []byte{want}) {
			t.Errorf("%v: %+v, want %d", wait, f, want)
		}
	}
}

func TestValues(t *testing.T) {
	if got := (Failure{UnsupportedVersion, []byte{1, 2, 0, 0, 0}}).Versions(); !bytes.Equal(got, []byte{1, 2}) {
		t.Error(got)
	}
	if got := (Failure{UnsupportedOption, []byte{29, 253, 0, 0, 0}}).Kinds(); !bytes.Equal(got, []byte{29, 253}) {
		t.Error(got)
	}
	f := Failure{MissingCookie, []byte{0, 1, 2, 3, 0}}
	if !bytes.Equal(f.Cookie(), []byte{1, 2, 3, 0}) || !bytes.Equal(f.Echo(), f.Cookie()) {
		t.Error(f.Cookie())
	}
	if f = (Failure{}); len(f.Cookie()) != 0 || len(f.Echo()) != 0 || f.ICMPCode() != 0 || len(f.Kinds()) != 0 {
		t.Error(f)
	}
}

// The longest message fits into the error that repeats it, but for its end.
func TestEchoIsBounded(t *testing.T) {
	long := (&Message{Has: HasCookie, Cookie: bytes.Repeat([]byte{7}, MaxLen-HeaderLen-tlvLen)}).Append(nil)
	b := (&Message{Has: HasError, Error: echo(MalformedMessage, long)}).Append(nil)
	var m Message
	if err := m.Parse(b); err != nil || len(b) != MaxLen || !bytes.Equal(m.Error.Echo(), long[:MaxLen-8]) {
		t.Errorf("%v, %d octets, %d of them again", err, len(b), len(m.Error.Echo()))
	}
}

func TestErrno(t *testing.T) {
	v4, v6 := server4.Addr(), server6.Addr()
	for _, c := range []struct {
		f    Failure
		to   netip.Addr
		want syscall.Errno
	}{
		{Failure{Code: UnsupportedVersion}, v4, syscall.EPROTO},
		{Failure{Code: MalformedMessage}, v4, syscall.EPROTO},
		{Failure{Code: 200}, v4, syscall.EPROTO},
		{Failure{Code: MissingCookie}, v4, syscall.EACCES},
		{Failure{Code: NotAuthorized}, v4, syscall.EACCES},
		{Failure{Code: ResourceExceeded}, v4, syscall.ENOBUFS},
		{Failure{Code: NetworkFailure}, v4, syscall.ENETUNREACH},
		{Failure{Code: ConnectionReset}, v4, syscall.ECONNREFUSED},
		{Unreachable(0), v4, syscall.ENETUNREACH},
		{Unreachable(1), v4, syscall.EHOSTUNREACH},
		{Unreachable(2), v4, syscall.ECONNREFUSED},
		{Unreachable(3), v4, syscall.ECONNREFUSED},
		{Unreachable(13), v4, syscall.EHOSTUNREACH},
		{Unreachable(3), netip.AddrFrom16(v4.As16()), syscall.ECONNREFUSED},
		{Unreachable(0), v6, syscall.ENETUNREACH},
		{Unreachable(1), v6, syscall.EHOSTUNREACH},
		{Unreachable(3), v6, syscall.EHOSTUNREACH},
		{Unreachable(4), v6, syscall.ECONNREFUSED},
	} {
		if got := c.f.Errno(c.to); got != c.want {
			t.Errorf("%v %x to %v: %v, want %v", c.f.Code, c.f.Value, c.to, got, c.want)
		}
	}
	if !errors.Is(Failure{Code: NotAuthorized}.Errno(v4), os.ErrPermission) {
		t.Error("not a matter of permission")
	}
}

func TestFailureOf(t *testing.T) {
	v4, v6 := server4.Addr(), server6.Addr()
	for _, c := range []struct {
		err  error
		to   netip.Addr
		want Failure
	}{
		{syscall.ECONNREFUSED, v4, Failure{Code: ConnectionReset}},
		{fmt.Errorf("dial: %w", syscall.ECONNRESET), v4, Failure{Code: ConnectionReset}},
		{syscall.EHOSTUNREACH, v4, Unreachable(1)},
		{syscall.EHOSTUNREACH, v6, Unreachable(3)},
		{syscall.ENETUNREACH, v4, Failure{Code: NetworkFailure}},
		{syscall.EACCES, v4, Failure{Code: NotAuthorized}},
		{syscall.EMFILE, v4, Failure{Code: ResourceExceeded}},
		{syscall.ETIMEDOUT, v4, Unreachable(1)},
		{context.DeadlineExceeded, v6, Unreachable(3)},
		{io.EOF, v4, Unreachable(1)},
	} {
		if got := FailureOf(c.err, c.to); got.Code != c.want.Code || !bytes.Equal(got.Value, c.want.Value) {
			t.Errorf("%v to %v: %+v, want %+v", c.err, c.to, got, c.want)
		}
	}
}

func TestCodesHaveNames(t *testing.T) {
	for _, c := range []Code{0, 1, 2, 3, 32, 33, 64, 65, 96, 97} {
		if strings.HasPrefix(c.String(), "error ") {
			t.Errorf("%d has none", uint8(c))
		}
	}
	if got := Code(200).String(); got != "error 200" {
		t.Error(got)
	}
}
