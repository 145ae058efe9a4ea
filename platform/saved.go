package platform

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
)

// Saved remembers what was there before. Rules and routes carry our protocol number and need no memory; values do.
type Saved struct {
	Tun      string              `json:"tun,omitempty"` // the device that is up because of us
	Settings map[string]Original `json:"settings,omitempty"`
	Resolv   *Original           `json:"resolv,omitempty"`
}

// An Original is a value that was replaced, and by what.
type Original struct {
	Was  *string `json:"was"` // nil: there was none
	Ours string  `json:"ours"`
}

// note keeps up with a change. Giving back what was there ends the memory of it.
func (s *Saved) note(c Change) {
	thing := c.To
	if thing == nil {
		thing = c.From
	}
	switch t := thing.(type) {
	case Device:
		if s.Tun = ""; c.To != nil && t.Up {
			s.Tun = t.Name
		}
	case Setting:
		settings := maps.Clone(s.Settings)
		if settings == nil {
			settings = map[string]Original{}
		}
		old, known := settings[t.Name]
		if next := old.after(known, c); next != nil {
			settings[t.Name] = *next
		} else {
			delete(settings, t.Name)
		}
		s.Settings = settings
	case Resolv:
		if s.Resolv == nil {
			s.Resolv = Original{}.after(false, c)
		} else {
			s.Resolv = s.Resolv.after(true, c)
		}
	}
}

// after returns what is to be remembered once c is done, nil for nothing.
func (o Original) after(known bool, c Change) *Original {
	from, to := value(c.From), value(c.To)
	switch {
	case known && equal(to, o.Was), to == nil:
		return nil
	case known && o.made(c.From):
		return &Original{Was: o.Was, Ours: *to}
	}
	return &Original{Was: from, Ours: *to}
}

// made reports whether the thing is as we left it. Resolv.conf is ours while it holds our lines, even when only half of it was written.
func (o Original) made(t Thing) bool {
	switch t := t.(type) {
	case Setting:
		return t.Value == o.Ours
	case Resolv:
		return t.ours()
	}
	return false
}

func value(t Thing) *string {
	switch t := t.(type) {
	case Setting:
		return &t.Value
	case Resolv:
		return &t.Text
	}
	return nil
}

func equal(a, b *string) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// both returns what s and later remember; later knows better.
func (s Saved) both(later Saved) Saved {
	all := Saved{Tun: later.Tun, Resolv: later.Resolv, Settings: map[string]Original{}}
	if all.Tun == "" {
		all.Tun = s.Tun
	}
	if all.Resolv == nil {
		all.Resolv = s.Resolv
	}
	maps.Copy(all.Settings, s.Settings)
	maps.Copy(all.Settings, later.Settings)
	return all
}

// Prune forgets what is no longer as we left it: it went away with its device, was never done, or somebody else has changed it since.
func (s Saved) Prune(things []Thing) (kept Saved) {
	for _, t := range things {
		switch t := t.(type) {
		case Device:
			if t.Up && t.Name == s.Tun {
				kept.Tun = s.Tun
			}
		case Setting:
			if o, ok := s.Settings[t.Name]; ok && o.made(t) {
				if kept.Settings == nil {
					kept.Settings = map[string]Original{}
				}
				kept.Settings[t.Name] = o
			}
		case Resolv:
			if s.Resolv != nil && t.ours() {
				kept.Resolv = s.Resolv
			}
		}
	}
	return kept
}

func (s Saved) empty() bool { return s.Tun == "" && s.Resolv == nil && len(s.Settings) == 0 }

// A record is the file in which Saved outlives the process.
type record struct{ folder string }

// Remains returns the name of the file that exists while there is something to undo, where Config.State is state.
func Remains(state string) string { return record{state}.name() }

func (r record) name() string { return filepath.Join(r.folder, "undo.json") }

func (r record) load() (s Saved, err error) {
	if r.folder == "" {
		return s, nil
	}
	text, err := os.ReadFile(r.name())
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read the undo record: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("the undo record %s is damaged (%w); look at it, put back by hand what it names, and remove it", r.name(), err)
	}
	return s, nil
}

// store replaces the record at once or not at all. It is on the disk when store returns.
func (r record) store(s Saved) error {
	if r.folder == "" {
		return nil
	}
	if s.empty() {
		if err := os.Remove(r.name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the undo record: %w", err)
		}
		return nil
	}
	text, err := json.MarshalIndent(s, "", "\t")
	if err == nil {
		err = r.replace(append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keep the undo record: %w", err)
	}
	return nil
}

func (r record) replace(text []byte) error {
	if err := os.MkdirAll(r.folder, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(r.folder, "undo-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), r.name()); err != nil {
		return err
	}
	folder, err := os.Open(r.folder)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}
