// Package apptest is what the tests of several programs need: a log, waiting for a condition, an echo behind a hub,
// ports, and what README.md tells people to type.
package apptest

import (
	"bytes"
	"log/slog"
	"testing"
	"time"
)

// Soon is for what should happen at once, on a machine that is busy with other tests.
const Soon = 15 * time.Second

// Log returns a log that is printed with the test.
func Log(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(writer{t}, nil)) }

type writer struct{ t *testing.T }

func (w writer) Write(p []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

// Until waits until something is so, and ends the test if it is not Soon.
func Until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(Soon); !so(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", Soon, what)
		}
	}
}
