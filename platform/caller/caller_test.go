package caller

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestOf(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("process numbers are told on Linux")
	}
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	here, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	there, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	want := Caller{os.Getuid(), os.Getgid(), os.Getpid()}
	if got, err := Of(there); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
}

func TestOfOtherSockets(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	if _, err := Of(there); err != ErrUnknown {
		t.Errorf("%v, want ErrUnknown", err)
	}
}

func TestMember(t *testing.T) {
	if (Caller{UID: 1, GID: 1}).Member("no such group, surely") {
		t.Error("a member of a group that does not exist")
	}
}
