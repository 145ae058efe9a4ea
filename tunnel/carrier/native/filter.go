package native

import (
	"encoding/binary"

	"golang.org/x/net/bpf"
)

const (
	unreachable4 = 3 // the type of the ICMP errors that matter to TCP (RFC 792); they tell the MTU too
	errors6      = 4 // the last type of ICMPv6 errors (RFC 4443)

	fragments = 0x3fff // of IPv4's flags and offset: others belong to this packet
	all       = 1<<32 - 1
)

// A program is a socket filter in the making, for frames whose IP header begins at base.
type program struct {
	base  uint32
	steps []bpf.Instruction
}

func (p *program) add(steps ...bpf.Instruction) { p.steps = append(p.steps, steps...) }

// load has size octets at an offset from the IP header be looked at, which may be a further X octets behind it.
func (p *program) load(offset uint32, size int) {
	p.add(bpf.LoadAbsolute{Off: p.base + offset, Size: size})
}
func (p *program) loadX(offset uint32, size int) {
	p.add(bpf.LoadIndirect{Off: p.base + offset, Size: size})
}

// must drops what does not compare so; finish says where dropping is.
func (p *program) must(is bpf.JumpTest, value uint32) {
	p.add(bpf.JumpIf{Cond: is, Val: value, SkipFalse: 255})
}

// finish drops or takes whole what has not been dropped.
func (p *program) finish() []bpf.Instruction {
	p.add(bpf.RetConstant{Val: all}, bpf.RetConstant{})
	for i, step := range p.steps {
		if jump, ok := step.(bpf.JumpIf); ok && jump.SkipFalse == 255 {
			jump.SkipFalse = uint8(len(p.steps) - i - 2)
			p.steps[i] = jump
		}
	}
	return p.steps
}

// filter takes the segments that are for us and the ICMP errors that quote ours, at whatever offset their IP headers begin.
func (s scope) filter(base uint32) []bpf.Instruction {
	p := &program{base: base}
	if s.v4() {
		s.filter4(p)
	} else {
		s.filter6(p)
	}
	p.must(bpf.JumpGreaterOrEqual, uint32(s.first))
	p.must(bpf.JumpLessOrEqual, uint32(s.last))
	return p.finish()
}

// filter4 leaves the port to be looked at.
func (s scope) filter4(p *program) {
	p.local(s, 16, p.load)
	p.load(6, 2)
	p.must(bpf.JumpBitsNotSet, fragments)
	p.add(bpf.LoadMemShift{Off: p.base}) // X: length of the header
	p.load(9, 1)
	p.either(func() {
		p.must(bpf.JumpEqual, protocolICMP4)
		p.loadX(0, 1)
		p.must(bpf.JumpEqual, unreachable4)
		p.loadX(headerICMP+9, 1)
		p.must(bpf.JumpEqual, protocolTCP)
		p.local(s, headerICMP+12, p.loadX)
		p.loadX(headerICMP, 1)
		p.add(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 15}, bpf.ALUOpConstant{Op: bpf.ALUOpMul, Val: 4},
			bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{}) // X: of that and the quoted header
		p.loadX(headerICMP, 2)
	}, func() { p.loadX(2, 2) })
}

// filter6 does not know extension headers, which TCP has none of.
func (s scope) filter6(p *program) {
	p.local(s, 24, p.load)
	p.load(6, 1)
	p.either(func() {
		p.must(bpf.JumpEqual, protocolICMP6)
		p.load(header6, 1)
		p.must(bpf.JumpLessOrEqual, errors6)
		p.load(header6+headerICMP+6, 1)
		p.must(bpf.JumpEqual, protocolTCP)
		p.local(s, header6+headerICMP+8, p.load)
		p.load(header6+headerICMP+header6, 2)
	}, func() { p.load(header6+2, 2) })
}

// local drops what does not have our address there.
func (p *program) local(s scope, offset uint32, load func(offset uint32, size int)) {
	for i := 0; i < len(s.local); i += 4 {
		load(offset+uint32(i), 4)
		p.must(bpf.JumpEqual, binary.BigEndian.Uint32(s.local[i:]))
	}
}

// either goes one of two ways by the protocol that has been loaded: other for what is not TCP.
func (p *program) either(other, tcp func()) {
	at := len(p.steps)
	p.add(nil)
	other()
	p.add(nil)
	end := len(p.steps)
	p.steps[at] = bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolTCP, SkipTrue: uint8(end - at - 1)}
	tcp()
	p.steps[end-1] = bpf.Jump{Skip: uint32(len(p.steps) - end)}
}
