package server

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// StoreName is the name of the store in the state directory.
const StoreName = "hub.db"

// lockPatience is how long the store's lock may be another's, as when a hub is just ending.
const lockPatience = 500 * time.Millisecond

var (
	errLocked = errors.New("another tandem-hub has it open")
	errWrite  = errors.New("it cannot be written")
	errRecord = errors.New("a record cannot be read")
)

// The store's buckets. Keys are numbers of four octets, values are JSON.
var (
	bucketHub     = []byte("hub") // one record, number 0
	bucketDevices = []byte("devices")
	bucketTraffic = []byte("traffic") // by device, written often
	bucketInvites = []byte("invites")

	buckets = [][]byte{bucketHub, bucketDevices, bucketTraffic, bucketInvites}
)

// A store is what the hub knows and keeps: every change is one transaction, which is on the disk when it
// returns, or not there at all.
type store struct {
	db   *bolt.DB
	path string
}

// checkState makes the state directory, or makes sure that it is the owner's alone.
func checkState(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("state directory %s cannot be made (%w): give --state a directory that is yours to write in", dir, err)
	}
	return checkMode(dir, 0o700)
}

// checkMode refuses what others may read: keys are in it.
func checkMode(path string, want fs.FileMode) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&^want != 0 && runtime.GOOS != "windows" {
		return fmt.Errorf("%s is open to others (mode %04o) and is to hold keys: chmod %o %s if it is the hub's alone, or give --state another directory", path, mode, want, path)
	}
	return nil
}

// openStore opens the store of a state directory, or makes one.
func openStore(dir string) (s *store, err error) {
	if err := checkState(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, StoreName)
	err = checkMode(path, 0o600)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err != nil && !fresh {
		return nil, err
	}
	defer func() {
		if err != nil {
			s, err = nil, storeError(path, err)
		}
	}()
	s = &store{path: path}
	if err := guarded(s.open); err != nil {
		if s.db != nil {
			s.db.Close()
		}
		if fresh && !errors.Is(err, bolterrors.ErrTimeout) {
			os.Remove(path) // half made, as on a full disk, it would look damaged
		}
		return nil, err
	}
	return s, nil
}

func (s *store) open() (err error) {
	s.db, err = bolt.Open(s.path, 0o600, &bolt.Options{Timeout: lockPatience})
	if err != nil {
		return err
	}
	complete := true
	err = s.db.View(func(tx *bolt.Tx) error {
		for _, b := range buckets {
			complete = complete && tx.Bucket(b) != nil
		}
		if info, err := os.Stat(s.path); err != nil || info.Size() < tx.Size() {
			return errors.Join(fmt.Errorf("%w: cut short", bolterrors.ErrInvalid), err)
		}
		return nil
	})
	if err != nil || complete {
		return err
	}
	return s.update(func(tx *bolt.Tx) error {
		for _, b := range buckets {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	})
}

// update does what f does, or nothing.
func (s *store) update(f func(*bolt.Tx) error) error {
	if err := s.db.Update(f); err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	return nil
}

// guarded turns the panics and faults with which the library meets pages that make no sense, or that a
// file cut short does not have, into errors.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			err = fmt.Errorf("%w: its pages make no sense", bolterrors.ErrInvalid)
		}
	}()
	return f()
}

func storeError(path string, err error) error {
	var system syscall.Errno
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%s: %w: stop that one, or give --state another directory", path, errLocked)
	case errors.Is(err, errWrite), errors.As(err, &system):
		return fmt.Errorf("%s: %w", path, err)
	}
	return fmt.Errorf("%s is damaged and was left as it is (%w): restore a copy of it, or move it away and let devices join again", path, err)
}

// each calls f for every record of a bucket.
func each[T any](s *store, bucket []byte, f func(number int, record T)) error {
	err := guarded(func() error {
		return s.db.View(func(tx *bolt.Tx) error {
			return tx.Bucket(bucket).ForEach(func(k, v []byte) error {
				var record T
				if len(k) != 4 {
					return fmt.Errorf("%w: %s %x", errRecord, bucket, k)
				}
				number := int(binary.BigEndian.Uint32(k))
				if err := json.Unmarshal(v, &record); err != nil {
					return fmt.Errorf("%w: %s %d: %w", errRecord, bucket, number, err)
				}
				f(number, record)
				return nil
			})
		})
	})
	if err != nil {
		return storeError(s.path, err)
	}
	return nil
}

// A change is a record to be written, or with a nil record to be removed.
type change struct {
	bucket []byte
	number int
	record any
}

// apply does all changes, or none.
func (s *store) apply(changes ...change) error {
	if len(changes) == 0 {
		return nil
	}
	err := s.update(func(tx *bolt.Tx) error {
		for _, c := range changes {
			key := binary.BigEndian.AppendUint32(nil, uint32(c.number))
			b := tx.Bucket(c.bucket)
			if c.record == nil {
				if err := b.Delete(key); err != nil {
					return err
				}
				continue
			}
			v, err := json.Marshal(c.record)
			if err != nil {
				return err
			}
			if err := b.Put(key, v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return storeError(s.path, err)
	}
	return nil
}

func (s *store) close() error { return s.db.Close() }
