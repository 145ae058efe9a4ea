package lab

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/miekg/dns"
	"github.com/quic-go/quic-go/http3"
)

// The ports of the web host beside those of HTTP and DNS.
const (
	answerPort = 1007 // answers a whole stream with its digest: the client closes first
	speakPort  = 1008 // speaks and closes, then takes a stream whose digest it tells under /heard
	cutPort    = 1009 // speaks and resets in the middle
	echoPort   = 1010
	deafPort   = 1011 // nobody listens
	fallPort   = 1012 // answers once, and resets when nothing was under way for a while
	spoken     = 1 << 20
)

// names of the web host, which its DNS server knows; private is one that says a private address.
const (
	webName     = "web.test."
	privateName = "private.test."
)

// serve is the web host: it runs until ctx ends.
func serve(ctx context.Context, out io.Writer) error {
	heard := make(chan string, 16)
	handler := pages(heard)
	var closers []io.Closer
	defer func() {
		for _, c := range closers {
			c.Close()
		}
	}()
	plain, err := net.Listen("tcp", ":80")
	if err != nil {
		return err
	}
	closers = append(closers, plain)
	go http.Serve(plain, handler)
	certificate, err := selfSigned()
	if err != nil {
		return err
	}
	third := &http3.Server{Addr: ":443", Handler: handler, TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{certificate}})}
	closers = append(closers, third)
	go third.ListenAndServe()
	for _, network := range []string{"udp", "tcp"} {
		started := make(chan struct{})
		server := &dns.Server{Addr: ":53", Net: network, Handler: dns.HandlerFunc(resolve), NotifyStartedFunc: func() { close(started) }}
		failed := make(chan error, 1)
		go func() { failed <- server.ListenAndServe() }()
		select {
		case <-started:
			defer server.Shutdown()
		case err := <-failed:
			return err
		}
	}
	for port, talk := range map[int]func(*net.TCPConn){
		answerPort: answer, speakPort: func(c *net.TCPConn) { speak(c, heard) }, cutPort: cut, echoPort: echo,
		fallPort: fall,
	} {
		l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err != nil {
			return err
		}
		closers = append(closers, l)
		go attend(l, talk)
	}
	fmt.Fprintln(out, "ready")
	<-ctx.Done()
	return nil
}

func attend(l net.Listener, talk func(*net.TCPConn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			talk(c.(*net.TCPConn))
		}()
	}
}

// echo copies by itself: what io.Copy does between sockets takes two more files of each connection.
func echo(c *net.TCPConn) {
	buf := make([]byte, 1<<10)
	for {
		n, err := c.Read(buf)
		if err == nil {
			_, err = c.Write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

func answer(c *net.TCPConn) {
	h := sha256.New()
	if n, err := io.Copy(h, c); err == nil {
		fmt.Fprintf(c, "%d %s\n", n, hex.EncodeToString(h.Sum(nil)))
	}
}

func speak(c *net.TCPConn, heard chan<- string) {
	io.CopyN(c, octets(1), spoken)
	c.CloseWrite()
	h := sha256.New()
	io.Copy(h, c)
	heard <- hex.EncodeToString(h.Sum(nil))
}

func cut(c *net.TCPConn) {
	io.CopyN(c, octets(1), spoken)
	c.SetLinger(0)
}

func fall(c *net.TCPConn) {
	buf := make([]byte, 1<<10)
	n, _ := c.Read(buf)
	c.Write(buf[:n])
	time.Sleep(2 * time.Second)
	c.SetLinger(0)
}

// pages are what the web host shows: octets of a seed, a sink for others, and who asks.
func pages(heard <-chan string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /octets/{seed}/{n}", func(rw http.ResponseWriter, r *http.Request) {
		seed, _ := strconv.Atoi(r.PathValue("seed"))
		n, err := strconv.ParseInt(r.PathValue("n"), 10, 64)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		rw.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		io.CopyBuffer(onlyWriter{rw}, io.LimitReader(octets(byte(seed)), n), make([]byte, 64<<10))
	})
	mux.HandleFunc("POST /sink", func(rw http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, _ := io.Copy(h, r.Body)
		fmt.Fprintf(rw, "%d %s\n", n, hex.EncodeToString(h.Sum(nil)))
	})
	mux.HandleFunc("GET /who", func(rw http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintln(rw, host)
	})
	mux.HandleFunc("GET /heard", func(rw http.ResponseWriter, r *http.Request) {
		select {
		case digest := <-heard:
			fmt.Fprintln(rw, digest)
		case <-r.Context().Done():
		}
	})
	return mux
}

// resolve answers for the names of the web host.
func resolve(rw dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg).SetReply(query)
	reply.Authoritative = true
	for _, q := range query.Question {
		record := ""
		switch {
		case q.Name == webName && q.Qtype == dns.TypeA:
			record = webName + " 60 IN A " + webHost
		case q.Name == webName && q.Qtype == dns.TypeAAAA:
			record = webName + " 60 IN AAAA " + web6Hst
		case q.Name == privateName && q.Qtype == dns.TypeA:
			record = privateName + " 60 IN A 192.168.7.7"
		case q.Name != webName && q.Name != privateName:
			reply.Rcode = dns.RcodeNameError
		}
		if rr, err := dns.NewRR(record); err == nil && rr != nil {
			reply.Answer = append(reply.Answer, rr)
		}
	}
	rw.WriteMsg(reply)
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"web.test"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// A task is what a helper process in the laptop's or another namespace is told to do.
type task struct {
	Kind       string // "serve", or one of kinds
	URL        string
	Address    string
	Octets     int64
	Seed       byte
	Idle, Busy int  // of a crowd: connections that wait, downloads beside them
	Plain      bool // of a host: TCP, not Multipath TCP
}

var kinds = map[string]func(context.Context, task, io.Writer) (account, error){
	"quic": runQUIC, "crowd": runCrowd, "half": runHalf, "late": runLate, "flood": runFlood, "socks": runSOCKS, "host": runHost,
}

// An account is what came of a task.
type account struct {
	Octets  int64
	Digest  string
	Elapsed time.Duration
	Lost    int    // of a crowd: connections that failed
	Err     string // "": none
}

// runTask is the helper's main.
func runTask(ctx context.Context, arg string, out io.Writer) error {
	var t task
	if err := json.Unmarshal([]byte(arg), &t); err != nil {
		return err
	}
	if t.Kind == "serve" {
		return serve(ctx, out)
	}
	kind := kinds[t.Kind]
	if kind == nil {
		return errors.New("no such task")
	}
	start := time.Now()
	a, err := kind(ctx, t, out)
	a.Elapsed = time.Since(start)
	if err != nil {
		a.Err = err.Error()
	}
	return json.NewEncoder(out).Encode(a)
}

// runQUIC downloads over HTTP/3.
func runQUIC(ctx context.Context, t task, _ io.Writer) (a account, err error) {
	transport := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.Close()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL, nil)
	if err != nil {
		return a, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	h := sha256.New()
	a.Octets, err = io.Copy(h, response.Body)
	a.Digest = hex.EncodeToString(h.Sum(nil))
	return a, err
}

// runHalf sends a stream, ends it, and then reads the answer to its end.
func runHalf(ctx context.Context, t task, _ io.Writer) (a account, err error) {
	c, err := dialTCP(ctx, t.Address)
	if err != nil {
		return a, err
	}
	defer c.Close()
	if _, err := io.CopyN(c, octets(t.Seed), t.Octets); err != nil {
		return a, err
	}
	if err := c.CloseWrite(); err != nil {
		return a, err
	}
	answer, err := io.ReadAll(c)
	a.Octets, a.Digest = int64(len(answer)), string(answer)
	return a, err
}

// runLate reads a stream to its end, and only then sends one.
func runLate(ctx context.Context, t task, _ io.Writer) (a account, err error) {
	c, err := dialTCP(ctx, t.Address)
	if err != nil {
		return a, err
	}
	defer c.Close()
	h := sha256.New()
	if a.Octets, err = io.Copy(h, c); err != nil {
		return a, err
	}
	a.Digest = hex.EncodeToString(h.Sum(nil))
	if _, err = io.CopyN(c, octets(t.Seed), t.Octets); err != nil {
		return a, err
	}
	return a, c.CloseWrite()
}

func dialTCP(ctx context.Context, address string) (*net.TCPConn, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}
