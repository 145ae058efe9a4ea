package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"tandem/engine"
)

func TestPrivacyNames(t *testing.T) {
	for name, want := range map[Privacy]engine.Privacy{"": engine.PrivacyStandard, "standard": engine.PrivacyStandard, "strict": engine.PrivacyStrict} {
		if err := name.Validate(); err != nil || name.Profile() != want {
			t.Errorf("%q: %v, %v", name, name.Profile(), err)
		}
	}
	if wrong := Privacy("paranoid"); wrong.Validate() == nil {
		t.Error("any profile is taken")
	}
}

func TestAddressTypes(t *testing.T) {
	promised := engine.UnknownAddress
	for _, name := range []Address{"unknown", "non-persistent", "session-lasting", "fixed"} {
		if err := name.Validate(); err != nil || name.Type() != promised {
			t.Errorf("%q: %v, %v", name, name.Type(), err)
		}
		promised++
	}
	if none := Address(""); none.Validate() != nil || none.Type() != engine.UnknownAddress {
		t.Error("nothing is not unknown")
	}
	if wrong := Address("eternal"); wrong.Validate() == nil {
		t.Error("any type is taken")
	}
}

func TestNetworks(t *testing.T) {
	n, err := ParseNetworks("10.20.30.40/16, 2001:db8::/32")
	if err != nil || n != "10.20.0.0/16,2001:db8::/32" {
		t.Fatalf("%q, %v", n, err)
	}
	for at, want := range map[string]bool{
		"10.20.1.1": true, "::ffff:10.20.1.1": true, "10.21.1.1": false, "2001:db8:5::1": true, "2001:db9::1": false,
	} {
		if n.Contain(netip.MustParseAddr(at)) != want {
			t.Errorf("%s: want %v", at, want)
		}
	}
	for _, none := range []string{"", "none"} {
		if n, err := ParseNetworks(none); err != nil || n != "" || n.Contain(netip.MustParseAddr("10.0.0.1")) || n.String() != "none" {
			t.Errorf("%q: %q, %v", none, n, err)
		}
	}
	for _, wrong := range []string{"10.0.0.1", "10.0.0.0/33", "home", "10.0.0.0/8,", "none,10.0.0.0/8"} {
		if n, err := ParseNetworks(wrong); err == nil {
			t.Errorf("%q: %q", wrong, n)
		}
	}
}

// FuzzNetworks: what is taken is written as it is read again.
func FuzzNetworks(f *testing.F) {
	for _, seed := range []string{"10.0.0.0/8", "10.1.2.3/8,fd00::/7", "none", "::ffff:10.0.0.0/104", "fe80::%eth0/64", ",", "0.0.0.0/0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseNetworks(text)
		if err != nil {
			return
		}
		if again, err := ParseNetworks(n.String()); err != nil || again != n {
			t.Errorf("%q is written %q and read %q, %v", text, n, again, err)
		}
	})
}

// A file of before says nothing of what came later, which is as it is for those who decided nothing.
func TestOlderSettings(t *testing.T) {
	f := folder(t)
	os.Mkdir(string(f), 0o700)
	os.WriteFile(filepath.Join(string(f), settingsFile), []byte(`{"down": true, "links": {"a": {"on": false}}}`), 0o600)
	s, err := f.Settings()
	if err != nil || !s.FastOpen || s.Privacy.Profile() != engine.PrivacyStandard || s.Link("a").Private || s.Link("a").Deny != "" {
		t.Errorf("%+v, %v", s, err)
	}
}
