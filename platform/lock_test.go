package platform

import (
	"errors"
	"path/filepath"
	"testing"
)

func TestLock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lock")
	first, err := Lock(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(file); !errors.Is(err, ErrLocked) {
		t.Errorf("locked twice: %v", err)
	}
	first.Close()
	again, err := Lock(file)
	if err != nil {
		t.Fatalf("after it was given back: %v", err)
	}
	again.Close()
}
