package apptest

import (
	"slices"
	"testing"
)

func TestTyped(t *testing.T) {
	text := "Tandem is.\n\n```\ngo run ./app/tandem demo\ngo build -o tandem ./app/tandem\n```\n   sudo ./tandem link wwan0 backup\n" +
		"| | |\n|---|---|\n" +
		"| `tandem links`, `flows` | what `there` is |\n| `tandem link NAME on, off` | `on` |\n| `tandem check`, `tandem-hub check` | |\n" +
		"| `tandem-hub devices`, `revoke laptop` | |\n| `tandem run --routes 10.0.0.0/8,2001:db8::/32` | |\n"
	want := []string{
		"tandem demo", "tandem link wwan0 backup", "tandem links", "tandem flows", "tandem link NAME on", "tandem link NAME off",
		"tandem check", "tandem-hub check", "tandem-hub devices", "tandem-hub revoke laptop", "tandem run --routes 10.0.0.0/8,2001:db8::/32",
	}
	if got := typed(text); !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}
