package invite

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"

	"tandem/tunnel/carrier"
)

func request() Request {
	q := Request{Version: Version, Name: "laptop"}
	for i := range q.Keys {
		q.Keys[i] = carrier.Key{byte(i + 1)}
	}
	return q
}

func TestEnrolment(t *testing.T) {
	for _, want := range []Answer{
		{Name: "laptop", Device: 3, Hub: "home", Endpoints: []string{"hub.example.net:51820"}},
		{Error: "No."},
	} {
		device, hub := net.Pipe()
		go func() {
			defer hub.Close()
			q, err := ReadRequest(hub)
			if err != nil || !reflect.DeepEqual(q, request()) {
				t.Errorf("hub read %+v, %v", q, err)
			}
			if err := WriteAnswer(hub, want); err != nil {
				t.Error(err)
			}
		}()
		got, err := Ask(device, request())
		var no Refusal
		switch {
		case want.Error != "" && (!errors.As(err, &no) || err.Error() != want.Error):
			t.Errorf("refused with %v, want %q", err, want.Error)
		case want.Error == "" && (err != nil || !reflect.DeepEqual(got, want)):
			t.Errorf("got %+v, %v", got, err)
		}
	}
}

func TestAnswerCutOff(t *testing.T) {
	device, hub := net.Pipe()
	go func() {
		ReadRequest(hub)
		io.WriteString(hub, `{"Device":3`)
		hub.Close()
	}()
	if _, err := Ask(device, request()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v", err)
	}
}

func TestBadRequests(t *testing.T) {
	twice, none := request(), request()
	twice.Keys[3] = twice.Keys[4]
	none.Keys[7] = carrier.Key{}
	line := func(v any) string { b, _ := json.Marshal(v); return string(b) + "\n" }
	for what, sent := range map[string]string{
		"nothing": "", "no line": "{}", "no JSON": "hello\n", "no keys": "{}\n", "a key twice": line(twice), "a zero key": line(none),
		"endless": strings.Repeat("[", 1<<20) + "\n",
	} {
		if _, err := ReadRequest(strings.NewReader(sent)); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
}

// FuzzReadRequest: what is taken has as many keys as there are slots, no two alike.
func FuzzReadRequest(f *testing.F) {
	good, _ := json.Marshal(request())
	f.Add(append(good, '\n'))
	f.Add([]byte("{}\n"))
	f.Add([]byte(`{"keys": [null]}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		q, err := ReadRequest(bytes.NewReader(line))
		if err != nil {
			return
		}
		keys := map[carrier.Key]bool{{}: true}
		for _, k := range q.Keys {
			keys[k] = true
		}
		if len(keys) != Slots+1 {
			t.Errorf("%q gives %d keys for %d slots", line, len(keys)-1, Slots)
		}
	})
}
