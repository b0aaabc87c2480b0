package terminal

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// The ring holds the end of everything written, whatever the sizes of the pieces.
func TestRingHoldsTheNewestBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := ring{max: rapid.IntRange(1, 100_000).Draw(t, "max")}
		var all []byte
		for i := range rapid.IntRange(1, 20).Draw(t, "writes") {
			p := bytes.Repeat([]byte{byte(i), byte(i + 1), 7}, rapid.IntRange(0, 20_000).Draw(t, "third"))
			all = append(all, p...)
			r.write(p)
			if r.next != uint64(len(all)) || r.first > r.next || r.held() > r.max {
				t.Fatalf("holds %d to %d of %d, max %d", r.first, r.next, len(all), r.max)
			}
			if want := min(len(all), r.max); r.held() != want {
				t.Fatalf("holds %d bytes, want %d", r.held(), want)
			}
			from := r.first + uint64(rapid.IntRange(0, r.held()).Draw(t, "from"))
			buf := make([]byte, rapid.IntRange(0, 50_000).Draw(t, "buf"))
			n := r.read(from, buf)
			if n != min(len(buf), int(r.next-from)) || !bytes.Equal(buf[:n], all[from:from+uint64(n)]) {
				t.Fatalf("read of %d at %d gives %d other bytes", len(buf), from, n)
			}
		}
	})
}

func TestRingStartsSmall(t *testing.T) {
	r := ring{max: 1 << 20}
	r.write([]byte("prompt$ "))
	if len(r.buf) != smallest {
		t.Errorf("a prompt takes %d bytes", len(r.buf))
	}
}
