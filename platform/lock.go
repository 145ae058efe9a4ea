package platform

import "errors"

// ErrLocked is returned by Lock while another process holds the lock.
var ErrLocked = errors.New("locked by another process")
