package carrier

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
)

// RFC 7748, section 5.2: the scalar 9 times the base point.
func TestPublicKey(t *testing.T) {
	public := Key{9}.Public()
	if got := hex.EncodeToString(public[:]); got != "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079" {
		t.Errorf("got %s", got)
	}
}

func TestKeyText(t *testing.T) {
	k := NewKey()
	if k == NewKey() || k.IsZero() || !(Key{}).IsZero() {
		t.Error("not fresh")
	}
	if k[0]&7 != 0 || k[31]&0xc0 != 0x40 {
		t.Error("not clamped")
	}
	text, err := json.Marshal(map[string]Key{"key": k})
	if err != nil || !strings.Contains(string(text), k.String()) {
		t.Errorf("%s, %v", text, err)
	}
	var back map[string]Key
	if err := json.Unmarshal(text, &back); err != nil || back["key"] != k {
		t.Errorf("%v", err)
	}
	if got, err := ParseKey(k.String()); err != nil || got != k {
		t.Errorf("%v, %v", got, err)
	}
	if shown := k.LogValue().String(); len(shown) > 12 {
		t.Errorf("a log shows %s", shown)
	}
	for _, bad := range []string{"", "x", k.String()[1:], k.String() + "AAAA", hex.EncodeToString(k[:]), "!" + k.String()[1:]} {
		got, err := ParseKey(bad)
		if err == nil || !got.IsZero() || bad != "" && len(bad) > 1 && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
}
