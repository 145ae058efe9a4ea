//go:build !linux

package lab

import (
	"errors"
	"time"
)

type tun struct{}

func openTun(string) (*tun, error) { return nil, errors.New("the lab needs Linux") }

func (t *tun) read([][]byte) (int, error) { return 0, errors.ErrUnsupported }
func (t *tun) write([][]byte)             {}
func (t *tun) close()                     {}

func nap(d time.Duration) { time.Sleep(d) }
