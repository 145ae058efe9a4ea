package convert

// A reader takes a message off the beginning of a stream, however it is cut.
type reader struct {
	got  []byte // of the message
	want int    // octets of it, 0 before the header is here
}

// read takes octets and returns those behind the message. The errors are those of ParseHeader but ErrShort,
// and come as soon as the header is here.
func (r *reader) read(b []byte) (rest []byte, done bool, err error) {
	if r.want == 0 {
		b = r.take(b, HeaderLen)
		if len(r.got) < HeaderLen {
			return nil, false, nil
		}
		if r.want, err = ParseHeader(r.got); err != nil {
			return b, false, err
		}
	}
	rest = r.take(b, r.want)
	return rest, len(r.got) == r.want, nil
}

// take moves octets from b until there are n.
func (r *reader) take(b []byte, n int) []byte {
	k := min(n-len(r.got), len(b))
	r.got = append(r.got, b[:k]...)
	return b[k:]
}
