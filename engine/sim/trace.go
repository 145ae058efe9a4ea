package sim

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"time"

	"tandem/engine/wire"
)

// A Trace is a Tap that hashes what it sees: each packet, its instant, its path and direction. Runs
// with equal sums are equal.
type Trace struct {
	hash    hash.Hash
	Packets int
	head    []byte
}

// NewTrace returns a trace of nothing.
func NewTrace() *Trace { return &Trace{hash: sha256.New()} }

// See: see Tap.
func (t *Trace) See(s *Sight) error {
	t.Packets++
	t.head = append(t.head[:0], s.Path.Name...)
	t.head = append(t.head, 0, byte(s.Path.side(s.Host)), 0)
	if s.Sent {
		t.head[len(t.head)-1] = 1
	}
	t.head = binary.BigEndian.AppendUint64(t.head, uint64(s.At))
	t.head = binary.BigEndian.AppendUint32(t.head, uint32(len(s.Packet)))
	t.hash.Write(t.head)
	t.hash.Write(s.Packet)
	return nil
}

// Sum returns the hash so far.
func (t *Trace) Sum() uint64 { return binary.BigEndian.Uint64(t.hash.Sum(nil)) }

// A Story is a Tap that tells a run to a person: a line for each packet and each remark.
type Story struct {
	w       io.Writer
	segment wire.Segment
}

// NewStory returns a story that is written to w.
func NewStory(w io.Writer) *Story { return &Story{w: w} }

// See: see Tap.
func (t *Story) See(s *Sight) error {
	arrow := "<"
	if s.Sent {
		arrow = ">"
	} else if s.Forged {
		arrow = "<!"
	}
	what := ""
	if err := t.segment.Parse(s.Packet); err == nil {
		what = t.segment.String()
	} else {
		source, target, protocol, _ := wire.Addresses(s.Packet)
		what = fmt.Sprintf("%v > %v protocol %d, %d octets: %v", source, target, protocol, len(s.Packet), err)
	}
	_, err := fmt.Fprintf(t.w, "%10.3fms %s %s %s %s\n", float64(s.At)/float64(time.Millisecond), s.Host.Name, s.Path.Name, arrow, what)
	return err
}
