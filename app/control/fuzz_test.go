package control

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzRequest: whatever is asked is answered in JSON, and what is not understood changes nothing.
func FuzzRequest(f *testing.F) {
	f.Add("POST", "/settings", `{"scheduler": "cost", "cost_rate": "1M", "inactivity": "2h,request", "establish": "ips+sim"}`)
	f.Add("POST", "/settings", `{"privacy": "strict", "fast_open": false, "address": "fixed"}`)
	f.Add("POST", "/links/wwan0", `{"role": "backup", "limit_down": "5M", "deny": "10.20.0.0/16", "price": 5}`)
	f.Add("POST", "/join", `"ABCD"`)
	f.Add("GET", "/connections/3", "")
	f.Add("POST", "/connections/3/subflows", `{"link": "wwan0"}`)
	f.Add("POST", "/connections/3/subflows/2", `{"backup": true}`)
	f.Add("POST", "/connections/3/subflows/2", `{"close": "fin"}`)
	f.Add("POST", "/connections/3/close", "")
	f.Add("DELETE", "/connections/-1", "")
	f.Add("GET", "/watch", "")
	f.Fuzz(func(t *testing.T, method, path, body string) {
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), rightKey{}, own))
		cancel()
		r, err := http.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
		if err != nil {
			return
		}
		b, w := &fake{}, httptest.NewRecorder()
		handler(b).ServeHTTP(w, r)
		switch w.Code {
		case http.StatusOK, http.StatusBadRequest, http.StatusConflict:
			if !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s %s is answered %d %q", method, path, w.Code, w.Body)
			}
		case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusMovedPermanently, http.StatusTemporaryRedirect:
		default:
			t.Errorf("%s %s is answered %d", method, path, w.Code)
		}
		if w.Code != http.StatusOK && len(b.calls) > 0 {
			t.Errorf("%s %s %q is answered %d after %q", method, path, body, w.Code, b.calls)
		}
	})
}
