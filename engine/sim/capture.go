package sim

import (
	"encoding/binary"
	"io"
	"time"
)

// A Capture is a Tap that writes what one host sends and receives as a pcap file: raw IP, stamped
// to the nanosecond since the world's origin.
type Capture struct {
	w    io.Writer
	host *Host
}

// NewCapture writes the head of the file to w. A nil host means every host's packets as they are sent.
func NewCapture(w io.Writer, host *Host) (*Capture, error) {
	const (
		magicNano = 0xa1b23c4d
		linkRaw   = 101
	)
	head := binary.LittleEndian.AppendUint32(nil, magicNano)
	head = binary.LittleEndian.AppendUint16(head, 2)
	head = binary.LittleEndian.AppendUint16(head, 4)
	head = append(head, make([]byte, 8)...)
	head = binary.LittleEndian.AppendUint32(head, 1<<16)
	head = binary.LittleEndian.AppendUint32(head, linkRaw)
	_, err := w.Write(head)
	return &Capture{w: w, host: host}, err
}

// See: see Tap.
func (c *Capture) See(s *Sight) error {
	if c.host == nil && !s.Sent || c.host != nil && s.Host != c.host {
		return nil
	}
	var head [16]byte
	binary.LittleEndian.PutUint32(head[:], uint32(time.Duration(s.At)/time.Second))
	binary.LittleEndian.PutUint32(head[4:], uint32(time.Duration(s.At)%time.Second))
	binary.LittleEndian.PutUint32(head[8:], uint32(len(s.Packet)))
	binary.LittleEndian.PutUint32(head[12:], uint32(len(s.Packet)))
	if _, err := c.w.Write(head[:]); err != nil {
		return err
	}
	_, err := c.w.Write(s.Packet)
	return err
}
