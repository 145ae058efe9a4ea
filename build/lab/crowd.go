package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/proxy"
)

const (
	crowdAtOnce = 64                    // connections of a crowd that are dialled at the same time
	floodRest   = 50 * time.Millisecond // with so many at once still more than a hub dials
)

// runCrowd opens connections that wait, says "idle", downloads over others beside them, and then has each
// of those that waited say something.
func runCrowd(ctx context.Context, t task, out io.Writer) (a account, err error) {
	var lost, octets atomic.Int64
	var first atomic.Pointer[error]
	fail := func(err error) {
		lost.Add(1)
		first.CompareAndSwap(nil, &err)
	}
	waiting := make([]net.Conn, t.Idle)
	inParallel(t.Idle, crowdAtOnce, func(i int) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", t.Address)
		if err != nil {
			fail(err)
			return
		}
		waiting[i] = c
	})
	fmt.Fprintln(out, "idle")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	want := digest(t.Seed, t.Octets)
	inParallel(t.Busy, t.Busy, func(int) {
		n, got, err := fetch(ctx, client, t.URL)
		octets.Add(n)
		if err == nil && got != want {
			err = errors.New("wrong octets")
		}
		if err != nil {
			fail(err)
		}
	})
	inParallel(t.Idle, crowdAtOnce, func(i int) {
		c := waiting[i]
		if c == nil {
			return
		}
		defer c.Close()
		said, heard := []byte{byte(i)}, []byte{0}
		if _, err := c.Write(said); err != nil {
			fail(err)
		} else if _, err := io.ReadFull(c, heard); err != nil || heard[0] != said[0] {
			fail(fmt.Errorf("no echo: %w", err))
		}
	})
	a.Octets, a.Lost = octets.Load(), int(lost.Load())
	if e := first.Load(); e != nil {
		err = *e
	}
	return a, err
}

// fetch downloads and digests.
func fetch(ctx context.Context, client *http.Client, url string) (n int64, digest string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	h := sha256.New()
	n, err = io.Copy(h, response.Body)
	return n, hex.EncodeToString(h.Sum(nil)), err
}

// inParallel calls f for each of n numbers, at most so many at once.
func inParallel(n, atOnce int, f func(i int)) {
	tokens := make(chan struct{}, max(atOnce, 1))
	var all sync.WaitGroup
	for i := range n {
		tokens <- struct{}{}
		all.Go(func() {
			f(i)
			<-tokens
		})
	}
	all.Wait()
}

// runFlood opens connections through a SOCKS proxy as fast as it gets them, keeps all it gets, and says
// "full" once one was refused; it goes on trying until it is stopped. Who was refused rests first: all hosts
// share this machine's cores, and a busy loop here would take from the others what no hub can keep for them.
func runFlood(ctx context.Context, t task, out io.Writer) (a account, err error) {
	dialer, err := proxy.SOCKS5("tcp", t.URL, nil, nil)
	if err != nil {
		return a, err
	}
	var got, refused atomic.Int64
	var full sync.Once
	inParallel(crowdAtOnce, crowdAtOnce, func(int) {
		for ctx.Err() == nil {
			c, err := dialer.(proxy.ContextDialer).DialContext(ctx, "tcp", t.Address)
			if err != nil {
				refused.Add(1)
				full.Do(func() { fmt.Fprintln(out, "full") })
				sleep(ctx, floodRest)
				continue
			}
			defer c.Close()
			got.Add(1)
		}
	})
	a.Octets, a.Lost = got.Load(), int(refused.Load())
	return a, nil
}
