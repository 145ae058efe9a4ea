package control

import (
	"context"
	"io"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"tandem/app/config"
)

func TestSettingsAreAskedFor(t *testing.T) {
	f := &fake{}
	c, _ := serveFake(t, f)
	mode, idle, scheduler := config.Establish("ips+sim"), config.Inactivity{Time: 2 * time.Hour, Request: true}, config.Scheduler("owl")
	if err := c.Set(context.Background(), Change{Scheduler: &scheduler, Establish: &mode, Inactivity: &idle}); err != nil {
		t.Fatal(err)
	}
	if err := c.Set(context.Background(), Change{Inactivity: new(config.Inactivity)}); err != nil {
		t.Fatal(err)
	}
	want := []string{`set {"scheduler":"owl","establish":"ips+sim","inactivity":"2h,request"}`, `set {"inactivity":"none"}`}
	if !reflect.DeepEqual(f.calls, want) {
		t.Errorf("asked %q, want %q", f.calls, want)
	}
}

// What cannot be meant is refused before the daemon is asked.
func TestBadSettings(t *testing.T) {
	f := &fake{}
	h := handler(f)
	for body, want := range map[string]string{
		`{"establish":"quickly"}`: "no way to begin connections",
		`{"scheduler":"best"}`:    "is not a scheduler",
		`{"inactivity":"2"}`:      "is not a time",
		`{"routes":"default"}`:    "not understood",
	} {
		r := httptest.NewRequest("POST", "/settings", strings.NewReader(body))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), rightKey{}, own)))
		if text, _ := io.ReadAll(w.Body); w.Code == 200 || !strings.Contains(string(text), want) {
			t.Errorf("%s: %d %s, want %q", body, w.Code, text, want)
		}
	}
	if len(f.calls) != 0 {
		t.Errorf("asked %q", f.calls)
	}
}

// What is not said stays.
func TestChangeLeavesTheRest(t *testing.T) {
	was := config.NewSettings()
	was.Scheduler, was.Establish, was.Inactivity = "cost", "sim", config.Inactivity{Time: time.Hour}
	if is := (Change{}).Apply(was); !reflect.DeepEqual(is, was) {
		t.Errorf("%+v, want %+v", is, was)
	}
	mode := config.Establish("ips")
	is := Change{Establish: &mode}.Apply(was)
	if was.Establish = mode; !reflect.DeepEqual(is, was) {
		t.Errorf("%+v, want %+v", is, was)
	}
}
