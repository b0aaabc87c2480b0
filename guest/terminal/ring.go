package terminal

// ring holds the newest bytes of a stream whose bytes are numbered from 0. The
// byte with number s lies at buf[s%len(buf)].
type ring struct {
	buf   []byte
	max   int
	first uint64 // the oldest byte held
	next  uint64 // the byte that comes next
}

// smallest is what a ring takes at first: most terminals show little.
const smallest = 16 << 10

func (r *ring) held() int { return int(r.next - r.first) }

// write appends p and drops the oldest bytes beyond max.
func (r *ring) write(p []byte) {
	r.grow(r.held() + len(p))
	if over := len(p) - len(r.buf); over > 0 {
		r.next += uint64(over)
		p = p[over:]
	}
	for len(p) > 0 {
		n := copy(r.buf[r.next%uint64(len(r.buf)):], p)
		r.next += uint64(n)
		p = p[n:]
	}
	if r.held() > len(r.buf) {
		r.first = r.next - uint64(len(r.buf))
	}
}

func (r *ring) grow(need int) {
	size := max(len(r.buf), min(smallest, r.max))
	for size < need && size < r.max {
		size = min(2*size, r.max)
	}
	if size == len(r.buf) {
		return
	}
	old := *r
	r.buf = make([]byte, size)
	for s := old.first; s < old.next; {
		part := old.buf[s%uint64(len(old.buf)):]
		part = part[:min(uint64(len(part)), old.next-s)]
		for len(part) > 0 {
			n := copy(r.buf[s%uint64(size):], part)
			s += uint64(n)
			part = part[n:]
		}
	}
}

// read copies held bytes from seq on, which must be held, and returns how many.
func (r *ring) read(seq uint64, p []byte) int {
	want := min(uint64(len(p)), r.next-seq)
	done := uint64(0)
	for done < want {
		part := r.buf[(seq+done)%uint64(len(r.buf)):]
		done += uint64(copy(p[done:want], part))
	}
	return int(done)
}
