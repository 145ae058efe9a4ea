// Package config is what tandem keeps between two starts: which hub this device belongs to, and how it
// is to be used. Files are strict JSON: an error names the file and the line, and a file that has one
// is never written over.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"tandem/platform"
)

// The files of a folder.
const (
	membershipFile = "membership.json"
	settingsFile   = "settings.json"
	pendingFile    = "enrolment.json"
	lockFile       = "lock"
)

// ErrNotJoined is wrapped by the error where a membership is needed and there is none.
var ErrNotJoined = errors.New("this device belongs to no hub")

// NotJoined returns ErrNotJoined with where a membership was looked for, and how to get one.
func (f Folder) NotJoined() error {
	return fmt.Errorf("%w (nothing says so in %s): make a code with tandem-hub invite on a hub, and give it to tandem join here", ErrNotJoined, f)
}

// Folder is where state is kept: a folder that only its owner may enter (0700), with files that only
// its owner may read (0600). Nothing is made before something is saved,
// or locked.
type Folder string

// DefaultFolder returns /var/lib/tandem for root, and for others a folder below $XDG_STATE_HOME, which
// is ~/.local/state unless set.
func DefaultFolder() Folder {
	if os.Geteuid() == 0 {
		return "/var/lib/tandem"
	}
	base := os.Getenv("XDG_STATE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "tandem-state"
		}
		base = filepath.Join(home, ".local", "state")
	}
	return Folder(filepath.Join(base, "tandem"))
}

// Check returns an error when others than its owner may enter the folder. A folder that does not exist
// is in order.
func (f Folder) Check() error {
	info, err := os.Stat(string(f))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("the folder for keys and settings cannot be used: %w: name another with --state", err)
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder", f)
	}
	return tooWide(string(f), info.Mode(), 0o700)
}

// make makes the folder, unless it is there.
func (f Folder) make() error {
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return fmt.Errorf("the folder for keys and settings cannot be made: %w: name another with --state", err)
	}
	return nil
}

// tooWide returns an error when mode lets others do what allowed does not. Windows has no such modes.
func tooWide(name string, mode, allowed fs.FileMode) error {
	if mode.Perm()&^allowed == 0 || runtime.GOOS == "windows" {
		return nil
	}
	return fmt.Errorf("%s is open to other users (%04o): what it keeps secret may be known to them; if not, run chmod %04o %s", name, mode.Perm(), allowed, name)
}

// Lock makes this process the only daemon with that state until it closes the lock, or ends.
func (f Folder) Lock() (io.Closer, error) {
	if err := f.Check(); err != nil {
		return nil, err
	}
	if err := f.make(); err != nil {
		return nil, err
	}
	lock, err := platform.Lock(filepath.Join(string(f), lockFile))
	if errors.Is(err, platform.ErrLocked) {
		return nil, fmt.Errorf("another tandem daemon is running: it uses the state in %s", f)
	}
	return lock, err
}

// secretMax bounds a file that holds a secret of a line, in octets.
const secretMax = 4096

// ReadSecret reads a line from a file that is open to its owner alone.
func ReadSecret(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if err := tooWide(name, info.Mode(), 0o600); err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(f, secretMax))
	return strings.TrimSpace(string(text)), err
}

// load reads a file of the folder into value, which has its defaults. Without such a file the error is
// fs.ErrNotExist.
func (f Folder) load(name string, value any) error {
	if err := f.Check(); err != nil {
		return err
	}
	full := filepath.Join(string(f), name)
	info, err := os.Stat(full)
	if err != nil {
		return err
	}
	if err := tooWide(full, info.Mode(), 0o600); err != nil {
		return err
	}
	text, err := os.ReadFile(full)
	if err != nil {
		return err
	}
	if err := decode(text, value); err != nil {
		return fmt.Errorf("%s:%w", full, err)
	}
	return nil
}

// replace writes a file of the folder in one step: after a crash at any moment the old file is there, or
// the new one. A file that load does not understand stays as it is: scratch is a value to load it into.
func (f Folder) replace(name string, value, scratch any) error {
	if err := f.load(name, scratch); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("not written over: %w", err)
	}
	if err := f.make(); err != nil {
		return err
	}
	text, err := encode(value)
	if err != nil {
		return err
	}
	full := filepath.Join(string(f), name)
	draft, err := os.CreateTemp(string(f), "."+name+".*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(draft.Name())
	_, err = draft.Write(text)
	if err == nil {
		err = draft.Sync()
	}
	if err := errors.Join(err, draft.Close()); err != nil {
		return err
	}
	if err := os.Rename(draft.Name(), full); err != nil {
		return err
	}
	return f.sync()
}

// sync makes names in the folder survive a crash.
func (f Folder) sync() error {
	if runtime.GOOS == "windows" { // where folders are not synced
		return nil
	}
	d, err := os.Open(string(f))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// remove deletes a file of the folder; none is fine.
func (f Folder) remove(name string) error {
	err := os.Remove(filepath.Join(string(f), name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.sync()
}
