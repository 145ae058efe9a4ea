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
	rest := Change{
		CostV: new(config.CostV(640)), CostRate: new(config.Rate(1e6)), Address: new(config.Address("fixed")),
		Privacy: new(config.Privacy("strict")), FastOpen: new(false),
		Bounds: &config.Bounds{Least: time.Minute, Most: time.Hour}, ImplicitESIM: new(true), Prototype: new(config.Prototype("inactivity")),
	}
	if err := c.Set(context.Background(), rest); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`set {"scheduler":"owl","establish":"ips+sim","inactivity":"2h,request"}`, `set {"inactivity":"none"}`,
		`set {"cost_v":640,"cost_rate":"1Mbit","address":"fixed","inactivity_bounds":"1m,1h","privacy":"strict","fast_open":false,"implicit_esim":true,"prototype":"inactivity"}`,
	}
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
		`{"cost_v":-1}`:           "is not a number of octets",
		`{"cost_rate":"5"}`:       "5 what?",
		`{"address":"eternal"}`:   "is not what a network promises",
		`{"privacy":"paranoid"}`:  "is no profile",
		`{"prototype":"both"}`:    "is no meaning",

		`{"inactivity_bounds":"1h"}`: "is neither fixed nor two times",
		`{"routes":"default"}`:       "not understood",
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

// What is decided otherwise is not what the daemon was told any more, and nothing else is.
func TestWithout(t *testing.T) {
	all := Change{
		Scheduler: new(config.Scheduler("owl")), CostV: new(config.CostV(1)), CostRate: new(config.Rate(1e6)), Establish: new(config.Establish("sim")),
		Address: new(config.Address("fixed")), Inactivity: &config.Inactivity{Time: time.Hour}, Privacy: new(config.Privacy("strict")), FastOpen: new(true),
		Bounds: &config.Bounds{Fixed: true}, ImplicitESIM: new(true), Prototype: new(config.Prototype("inactivity")),
	}
	for i := range reflect.TypeFor[Change]().NumField() {
		var one Change
		reflect.ValueOf(&one).Elem().Field(i).Set(reflect.ValueOf(all).Field(i))
		left := all.Without(one)
		for j := range reflect.TypeFor[Change]().NumField() {
			if gone := reflect.ValueOf(left).Field(j).IsNil(); gone != (i == j) {
				t.Errorf("%+v without %+v: %+v", all, one, left)
			}
		}
		if was := (config.Settings{}); reflect.DeepEqual(one.Apply(was), was) {
			t.Errorf("%+v changes nothing", one)
		}
	}
	if left := all.Without(all); left != (Change{}) {
		t.Errorf("%+v", left)
	}
}
