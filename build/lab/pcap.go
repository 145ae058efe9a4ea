package lab

import (
	"bufio"
	"encoding/binary"
	"io"
	"os"
	"sync"
	"time"
)

// A capture is a pcap file of raw IP packets with nanoseconds. The nil capture records nothing.
type capture struct {
	mu   sync.Mutex
	file *os.File
	w    *bufio.Writer
	snap int // octets kept of each packet
	room int // packets still recorded
}

const (
	pcapMagicNano = 0xa1b23c4d
	linkTypeRaw   = 101
)

func newCapture(name string, snap, room int) (*capture, error) {
	file, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	c := &capture{file: file, w: bufio.NewWriterSize(file, 1<<18), snap: snap, room: room}
	writePcapHeader(c.w, snap)
	return c, nil
}

func writePcapHeader(w io.Writer, snap int) {
	var h [24]byte
	binary.LittleEndian.PutUint32(h[0:], pcapMagicNano)
	binary.LittleEndian.PutUint16(h[4:], 2)
	binary.LittleEndian.PutUint16(h[6:], 4)
	binary.LittleEndian.PutUint32(h[16:], uint32(snap))
	binary.LittleEndian.PutUint32(h[20:], linkTypeRaw)
	w.Write(h[:])
}

func writePcapRecord(w io.Writer, at time.Time, pkt []byte, snap int) {
	kept := pkt[:min(len(pkt), snap)]
	var h [16]byte
	binary.LittleEndian.PutUint32(h[0:], uint32(at.Unix()))
	binary.LittleEndian.PutUint32(h[4:], uint32(at.Nanosecond()))
	binary.LittleEndian.PutUint32(h[8:], uint32(len(kept)))
	binary.LittleEndian.PutUint32(h[12:], uint32(len(pkt)))
	w.Write(h[:])
	w.Write(kept)
}

// record adds packets that crossed now.
func (c *capture) record(pkts [][]byte) {
	if c == nil {
		return
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, pkt := range pkts {
		if c.room == 0 {
			return
		}
		c.room--
		writePcapRecord(c.w, now, pkt, c.snap)
	}
}

func (c *capture) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.room = 0
	if err := c.w.Flush(); err != nil {
		c.file.Close()
		return err
	}
	return c.file.Close()
}
