package tcp

import "errors"

// Why a subflow ended.
var (
	ErrTimeout = errors.New("tcp: the peer does not answer")
	ErrReset   = errors.New("tcp: reset by the peer")
	ErrRefused = errors.New("tcp: refused by the peer")
	ErrAborted = errors.New("tcp: aborted on this side") // Reset or Drop was called
)
