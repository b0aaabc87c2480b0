package gvisor

import (
	"sync"

	"golang.org/x/net/bpf"
)

// traceFilter returns the socket filter of trace connections: the host's kernel
// runs it when the sandbox's kernel sends, and what it refuses costs the server
// nothing. It refuses only what [tracedCall.refusal] certainly passes over: calls
// that succeeded, and opens that failed in a place of no interest. What it does
// not understand it lets through.
//
// The offsets are those of the fields in the order of their numbers, which is how
// the sandbox's kernel writes them, after the header of eight bytes:
//
//	8  12 02 10 EE   exit: two bytes, the error number alone: the call was refused
//	12 18 NN         sysno, one byte or two
//	.. 20 NN         directory, one byte or the ten of AT_FDCWD; left out when 0
//	.. 32 LL path    path, its size one byte or two
var traceFilter = sync.OnceValue(func() []bpf.RawInstruction {
	var a assembler
	a.load(3)
	a.unless(0, "take")
	a.load(2)
	a.when(traceOpen, "known")
	a.unless(traceRaw, "drop")
	a.label("known")
	a.load(8)
	a.unless(0x12, "take")
	a.load(10)
	a.unless(0x10, "drop")
	a.load(2)
	a.when(traceRaw, "take")

	a.load(9)
	a.unless(2, "take")
	a.load(12)
	a.unless(0x18, "take")
	a.load(13)
	a.add(bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 7}, bpf.TAX{}) // X: bytes that came before, beyond the least
	a.at(14, 1)
	a.unless(0x20, "take")
	a.at(15, 1)
	a.unless(0x9c, "descriptor")
	a.at(16, 1)
	a.unless(0xff, "take")
	a.skip(9)
	a.jump("path")
	a.label("descriptor")
	a.more("take")
	a.label("path")
	a.at(16, 1)
	a.unless(0x32, "take")
	a.at(17, 1)
	a.add(bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 7}, bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{})
	a.at(18, 2)
	a.when(word("//"), "take") // decodeTrace cleans these
	a.when(word("/."), "take")
	a.at(18, 4)
	for _, start := range []string{"/pro", "/sys", "/dev", "/run"} {
		a.when(word(start), "take")
	}
	a.when(word("/var"), "var")
	a.unless(word("/etc"), "drop")
	a.at(22, 4)
	a.when(word("/sha"), "take")
	a.when(word("/gsh"), "take")
	a.jump("drop")
	a.label("var")
	a.at(22, 4)
	a.when(word("/run"), "take")
	a.label("drop")
	a.add(bpf.RetConstant{Val: 0})
	a.label("take")
	a.add(bpf.RetConstant{Val: traceMost})

	raw, err := bpf.Assemble(a.code)
	if err != nil {
		panic(err) // the program is constant, and tested
	}
	return raw
})

// word is text as a load of its size gives it.
func word(s string) (v uint32) {
	for i := range len(s) {
		v = v<<8 | uint32(s[i])
	}
	return v
}

// assembler collects a program whose jumps go forward to labels.
type assembler struct {
	code  []bpf.Instruction
	waits map[string][]int // jumps to a label that is yet to come
}

func (a *assembler) add(i ...bpf.Instruction) { a.code = append(a.code, i...) }

// load and at read big-endian numbers: a byte at an offset, or size bytes at an
// offset from X. Beyond the message's end both refuse the message.
func (a *assembler) load(off uint32)         { a.add(bpf.LoadAbsolute{Off: off, Size: 1}) }
func (a *assembler) at(off uint32, size int) { a.add(bpf.LoadIndirect{Off: off, Size: size}) }

// skip adds to X.
func (a *assembler) skip(n uint32) {
	a.add(bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: n}, bpf.TAX{})
}

func (a *assembler) to(label string, i bpf.Instruction) {
	if a.waits == nil {
		a.waits = map[string][]int{}
	}
	a.waits[label] = append(a.waits[label], len(a.code))
	a.add(i)
}

func (a *assembler) when(v uint32, label string) {
	a.to(label, bpf.JumpIf{Cond: bpf.JumpEqual, Val: v})
}

func (a *assembler) unless(v uint32, label string) {
	a.to(label, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: v})
}

// more jumps if the byte says that its number has another one.
func (a *assembler) more(label string) {
	a.to(label, bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x80})
}

func (a *assembler) jump(label string) { a.to(label, bpf.Jump{}) }

func (a *assembler) label(name string) {
	for _, i := range a.waits[name] {
		distance := len(a.code) - i - 1
		switch j := a.code[i].(type) {
		case bpf.JumpIf:
			j.SkipTrue = uint8(distance)
			a.code[i] = j
		case bpf.Jump:
			j.Skip = uint32(distance)
			a.code[i] = j
		}
	}
	delete(a.waits, name)
}
