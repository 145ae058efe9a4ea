package proxy

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// Real clients of HTTP reach plain servers: each request goes to whom it names.
func TestForward(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		io.WriteString(w, q.Method+" "+q.Host+q.RequestURI+" "+string(body)+q.Header.Get("Proxy-Authorization"))
	}))
	defer server.Close()
	p, at := start(t, func(c *Config) { c.User, c.Password = "me", "secret" })
	proxy := &url.URL{Scheme: "http", Host: at, User: url.UserPassword("me", "secret")}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy)}}
	for _, c := range []struct{ url, target, want string }{
		{"http://one.example/a?b=c", "192.0.2.1:80", "POST one.example/a?b=c hello"},
		{"http://one.example:8080", "192.0.2.1:8080", "POST one.example:8080/ hello"},
		{"http://[2001:db8::7]/", "[2001:db8::7]:80", "POST [2001:db8::7]/ hello"},
	} {
		for _, body := range []io.Reader{strings.NewReader("hello"), io.MultiReader(strings.NewReader("hello"))} { // of known length, and chunked
			answered := joinNext(t, p, server)
			said, err := client.Post(c.url, "text/plain", body)
			must(t, err)
			if got, err := io.ReadAll(said.Body); err != nil || string(got) != c.want {
				t.Errorf("%s: %q, %v", c.url, got, err)
			}
			said.Body.Close()
			if got := <-answered; got.target != c.target || got.err != nil {
				t.Errorf("%s: to %v, %v", c.url, got.target, got.err)
			}
		}
	}
}

// What is for the proxy alone is not passed on, nor a Host that differs from whom is asked.
func TestRewrite(t *testing.T) {
	for _, c := range []struct{ said, want string }{
		{"GET http://user@one.example HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\nHost: one.example\r\nConnection: close\r\n\r\n"},
		{"POST http://one.example:81/x HTTP/1.1\r\nHost: evil.example\r\nConnection: keep-alive, X-Mine, Content-Length\r\nX-Mine: 1\r\n" +
			"Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nUpgrade: h2c\r\nAccept: */*\r\nContent-Length: 3\r\n\r\nabc",
			"POST /x HTTP/1.1\r\nHost: one.example:81\r\nConnection: close\r\nAccept: */*\r\nContent-Length: 3\r\n\r\n"},
		{"PUT http://one.example/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			"PUT / HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"},
	} {
		q, err := http.ReadRequest(bufio.NewReader(strings.NewReader(c.said)))
		must(t, err)
		if got := string(rewrite(q)); got != c.want {
			t.Errorf("%q becomes\n%q, want\n%q", c.said, got, c.want)
		}
	}
}
