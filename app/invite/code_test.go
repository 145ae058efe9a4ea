package invite

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"tandem/tunnel/carrier"
)

func sample() Code {
	return Code{
		Hub: carrier.Key{1, 2, 3, 31: 9}, Key: carrier.Key{4, 5, 6, 31: 8}, Number: 31,
		Endpoints: []string{"hub.example.net:51820", "192.0.2.7:51820", "[2001:db8::7]:443"},
		Expires:   time.Unix(1_900_000_000, 0),
	}
}

func TestCodeReturns(t *testing.T) {
	want := sample()
	s := want.String()
	if !strings.HasPrefix(s, "tandem1-") || strings.ContainsAny(s, " =\n") {
		t.Fatalf("code %q is not one plain word", s)
	}
	for what, typed := range map[string]string{
		"as it is": s, "in capitals": strings.ToUpper(s), "broken over lines": " " + s[:40] + "\r\n  " + s[40:] + "\n",
	} {
		got, err := Parse(typed)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v", what, got, err)
		}
	}
}

func TestCodeOfNoUse(t *testing.T) {
	good := sample().String()
	many := sample()
	many.Endpoints = make([]string, EndpointsMax+1)
	for _, c := range []struct {
		what, typed string
		want        error
	}{
		{"nothing", "", ErrForeign},
		{"prose", "hello there", ErrForeign},
		{"a code of something else", "wg1-abcdef", ErrForeign},
		{"no version", "tandem-" + good[8:], ErrForeign},
		{"a later version", "tandem2-" + good[8:], ErrVersion},
		{"the head alone", "tandem1-", ErrMistyped},
		{"cut off", good[:len(good)-3], ErrMistyped},
		{"a letter too many", good + "a", ErrMistyped},
		{"a letter that codes do not have", good[:20] + "1" + good[21:], ErrMistyped},
		{"endpoints that are none", many.String(), ErrForeign},
	} {
		if _, err := Parse(c.typed); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
}

func TestEveryWrongLetterIsMistyped(t *testing.T) {
	good := sample().String()
	for i := len("tandem1-"); i < len(good); i++ {
		wrong := byte('a')
		if good[i] == wrong {
			wrong = 'b'
		}
		if _, err := Parse(good[:i] + string(wrong) + good[i+1:]); !errors.Is(err, ErrMistyped) {
			t.Fatalf("letter %d wrong: %v", i, err)
		}
	}
}

func TestCodeExpires(t *testing.T) {
	c := sample()
	if err := c.Check(c.Expires); err != nil {
		t.Errorf("at its last instant: %v", err)
	}
	if err := c.Check(c.Expires.Add(time.Second)); !errors.Is(err, ErrExpired) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestEndpoints(t *testing.T) {
	for e, good := range map[string]bool{
		"hub.example.net:51820": true, "192.0.2.7:1": true, "[2001:db8::1]:65535": true,
		"": false, "hub": false, ":51820": false, "hub:0": false, "hub:65536": false, "hub:http": false, "2001:db8::1:443": false,
		strings.Repeat("a", 300) + ":1": false,
	} {
		if err := CheckEndpoint(e); (err == nil) != good {
			t.Errorf("%q: %v", e, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample().String())
	f.Add("tandem1-aaaa")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(c.String())
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Fatalf("%+v became %+v, %v", c, again, err)
		}
	})
}
