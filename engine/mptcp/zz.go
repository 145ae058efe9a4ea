package mptcp
import "fmt"
func (c *Conn) Zed() string {
	s := fmt.Sprintf("una %d next %d end %d written %d blocks %d tail %v used %d in %d %d", c.snd.una, c.snd.next, c.snd.end, c.out.written.Load(), len(c.out.blocks), c.out.tail.Load()!=nil, c.b.pool.used, c.in.consumed.Load(), c.in.freed)
	for _, b := range c.out.blocks { s += fmt.Sprintf(" refs %d start %d", b.refs, b.start) }
	return s
}
