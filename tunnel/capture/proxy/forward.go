package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// forward is the dialect of requests in absolute form (RFC 9112 3.2.2). Who is asked answers itself, to the one
// request that is told to be the last: what follows on the connection is its body.
type forward struct{ connect }

func (forward) accept(io.Writer) error { return nil }

const unsupported = "This is a proxy: it takes CONNECT, and requests of http://HOST/ addresses.\n"

// forwardable reports whether a request names whom to ask.
func forwardable(q *http.Request) bool {
	return q.URL.IsAbs() && strings.EqualFold(q.URL.Scheme, "http")
}

// hopByHop are fields that are not for whom is asked (RFC 9110 7.6.1, 11.7.2). Transfer-Encoding is not among
// them, because the body goes on as it came.
var hopByHop = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Te", "Upgrade"}

// rewrite returns the head of a request as whom is asked wants it: in origin form, with the Host that was asked for.
func rewrite(q *http.Request) []byte {
	dropped := map[string]bool{}
	for _, name := range hopByHop {
		dropped[name] = true
	}
	for _, list := range q.Header["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			dropped[http.CanonicalHeaderKey(strings.TrimSpace(name))] = true
		}
	}
	dropped["Content-Length"], dropped["Host"] = false, true
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s %s\r\nHost: %s\r\nConnection: close\r\n", q.Method, q.URL.RequestURI(), q.Proto, q.URL.Host)
	if len(q.TransferEncoding) > 0 {
		fmt.Fprintf(&head, "Transfer-Encoding: %s\r\n", strings.Join(q.TransferEncoding, ", "))
	}
	q.Header.WriteSubset(&head, dropped)
	head.WriteString("\r\n")
	return head.Bytes()
}
