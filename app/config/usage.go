package config

import (
	"errors"
	"fmt"
	"io/fs"
	"time"
)

const usageFile = "usage.json"

// Usage is what a link has carried in the month of its cap.
type Usage struct {
	Month  time.Time `json:"month"`  // when it began
	Octets uint64    `json:"octets"` // both ways, on the wire
}

// Month returns when the month began that now is in, for caps that begin anew on a day of the month.
func Month(now time.Time, resetDay int) time.Time {
	y, m, d := now.Date()
	if d < resetDay {
		m--
	}
	return time.Date(y, m, resetDay, 0, 0, 0, 0, now.Location())
}

// Add counts octets at now.
func (u *Usage) Add(octets uint64, now time.Time, resetDay int) {
	if month := Month(now, resetDay); !month.Equal(u.Month) {
		*u = Usage{Month: month}
	}
	u.Octets += octets
}

// Spent says that a cap is used up at now, and until when; "": it is not, or there is none.
func (u Usage) Spent(l Link, now time.Time) string {
	month := Month(now, l.ResetDay)
	if l.Cap == 0 || !month.Equal(u.Month) || u.Octets < uint64(l.Cap) {
		return ""
	}
	return fmt.Sprintf("its cap of %sB is used up until %s", amount(int64(l.Cap)), month.AddDate(0, 1, 0).Format(time.DateOnly))
}

// Usage reads what links have carried, by ID.
func (f Folder) Usage() (map[string]Usage, error) {
	u := map[string]Usage{}
	err := f.load(usageFile, &u)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return u, err
}

// SaveUsage writes what links have carried.
func (f Folder) SaveUsage(u map[string]Usage) error {
	scratch := map[string]Usage{}
	return f.replace(usageFile, u, &scratch)
}
