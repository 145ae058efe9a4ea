package proxy

import (
	"bufio"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"tandem/tunnel/packet"
)

const headerMax = 16 << 10 // octets of a request

// connect is the dialect of HTTP CONNECT (RFC 9110 9.3.6).
type connect struct{}

func (connect) accept(c io.Writer) error {
	_, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	return err
}

func (connect) refuse(c io.Writer, why error) {
	status := http.StatusBadGateway
	var timeout interface{ Timeout() bool }
	switch {
	case kind(why) == packet.Prohibited:
		status = http.StatusForbidden
	case errors.As(why, &timeout) && timeout.Timeout():
		status = http.StatusGatewayTimeout
	}
	answer(c, status, "")
}

// answer is the last on a connection. header is whole lines.
func answer(c io.Writer, status int, header string) { answerWith(c, status, header, "") }

func answerWith(c io.Writer, status int, header, text string) {
	fmt.Fprintf(c, "HTTP/1.1 %d %s\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		status, http.StatusText(status), header, len(text), text)
}

// hearHTTP goes on behind the first octet.
func (p *Proxy) hearHTTP(first byte, c io.ReadWriter) (request, error) {
	limited := &io.LimitedReader{R: io.MultiReader(strings.NewReader(string(first)), c), N: headerMax}
	reader := bufio.NewReader(limited)
	q, err := http.ReadRequest(reader)
	switch {
	case err != nil && limited.N == 0:
		answer(c, http.StatusRequestHeaderFieldsTooLarge, "")
		return request{}, errMalformed
	case err != nil:
		var lost net.Error
		if !errors.As(err, &lost) && !errors.Is(err, io.EOF) {
			answer(c, http.StatusBadRequest, "")
		}
		return request{}, errMalformed
	case p.cfg.Password != "" && !p.authorizedHTTP(q):
		answer(c, http.StatusProxyAuthRequired, "Proxy-Authenticate: Basic realm=\"tandem\"\r\n")
		return request{}, errUnauthorized
	case q.Method != http.MethodConnect && !forwardable(q):
		answerWith(c, http.StatusMethodNotAllowed, "Allow: CONNECT\r\n", unsupported)
		return request{}, errMalformed
	}
	early, _ := reader.Peek(reader.Buffered())
	r := request{dialect: connect{}, early: early}
	target := q.RequestURI
	if q.Method != http.MethodConnect {
		r.dialect, r.early = forward{}, append(rewrite(q), early...)
		target = net.JoinHostPort(q.URL.Hostname(), cmp.Or(q.URL.Port(), "80"))
	}
	host, portText, err := net.SplitHostPort(target)
	port, wrong := strconv.ParseUint(portText, 10, 16)
	if err != nil || wrong != nil || host == "" || port == 0 {
		answer(c, http.StatusBadRequest, "")
		return request{}, errMalformed
	}
	r.host, r.port = host, uint16(port)
	return r, nil
}

// authorizedHTTP: RFC 7617 2.
func (p *Proxy) authorizedHTTP(q *http.Request) bool {
	scheme, credentials, _ := strings.Cut(q.Header.Get("Proxy-Authorization"), " ")
	plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(credentials))
	if err != nil || !strings.EqualFold(scheme, "Basic") {
		return false
	}
	user, password, _ := strings.Cut(string(plain), ":")
	return p.authorized(user, password)
}
