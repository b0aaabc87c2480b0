package chunk

import (
	"bytes"
	"reflect"
	"testing"
)

// A hostile index is refused or adds up: every run lies in the file and in its
// segment, and encoding it again gives an index that says the same.
func FuzzIndex(f *testing.F) {
	txn := newTxn()
	x := &index{chunkSize: 8192, segments: []segmentRef{{id: segmentID{txn, 3}, chunks: 9, size: 5000, sum: tableSum{1}}}}
	file := indexFile{name: "pages.img", size: 8192*12 - 5}
	file.add(true, 0, 0, 4)
	file.add(false, 0, 1, 8)
	x.files = append(x.files, file, indexFile{name: "empty"})
	f.Add(x.encode())
	f.Add([]byte(indexMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		x, err := decodeIndex(data)
		if err != nil {
			return
		}
		for _, file := range x.files {
			next := uint64(0)
			for _, r := range file.runs {
				if r.first != next || r.count == 0 {
					t.Fatalf("run %+v starts at %d", r, next)
				}
				next += uint64(r.count)
				if !r.zero && uint64(r.slot)+uint64(r.count) > uint64(x.segments[r.segment].chunks) {
					t.Fatalf("run %+v leaves its segment", r)
				}
			}
			if next != file.chunks(x.chunkSize) {
				t.Fatalf("%d chunks of %d", next, file.chunks(x.chunkSize))
			}
			if next > 0 {
				file.spans(0, next-1)
			}
		}
		again, err := decodeIndex(x.encode())
		if err != nil || !reflect.DeepEqual(again, x) {
			t.Fatalf("encoded again: %v", err)
		}
	})
}

func FuzzManifest(f *testing.F) {
	m := &Manifest{ID: "sn", Txn: newTxn(), IndexSize: 1, Files: []FileInfo{{"f", 1}}, Segments: refs{{newTxn(), 1}: {}, {newTxn(), 2}: {}}}
	good, err := seal(manifestKind, m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, true)
	f.Add([]byte(`{"id":"x","segments":{"00000000000000000000000000":"0-4294967295"}}`), true)
	f.Add([]byte(`{"snapshots":[{"id":"a"}]}`), false)
	f.Fuzz(func(t *testing.T, data []byte, sealed bool) {
		if sealed { // the checksum would stop everything interesting
			head := manifestKind + " 1"
			data = []byte(head + "\n" + sealLine(head, data) + "\n" + string(data))
		}
		if m, err := decodeManifest(data); err == nil {
			if again, err := seal(manifestKind, m); err != nil {
				t.Fatal(err)
			} else if _, err := decodeManifest(again); err != nil {
				t.Fatalf("sealed again: %v", err)
			}
		}
	})
}

func FuzzCatalog(f *testing.F) {
	c := &catalog{Tenant: "t", Snapshots: []Entry{{ID: "a", Txn: newTxn(), Segments: refs{{newTxn(), 0}: {}}}}, Transactions: []transaction{{Txn: newTxn()}}}
	good, err := seal(catalogKind, c)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.SplitN(good, []byte("\n"), 3)[2])
	f.Fuzz(func(t *testing.T, data []byte) {
		head := catalogKind + " 1"
		c, err := decodeCatalog([]byte(head + "\n" + sealLine(head, data) + "\n" + string(data)))
		if err == nil {
			c.references()
			c.chain("ws")
		}
	})
}

func FuzzTrace(f *testing.F) {
	f.Add([]byte(`{"touches":[{"file":"a","offset":1,"length":2}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		head := traceKind + " 1"
		if _, err := decodeTrace([]byte(head + "\n" + sealLine(head, data) + "\n" + string(data))); err != nil {
			return
		}
	})
}

// A hostile segment is refused, and a hostile chunk fills what it should or fails.
func FuzzSegment(f *testing.F) {
	var s segment
	for _, codec := range []Codec{None, LZ4, Zstd} {
		c, err := newCompressor(codec, 4096)
		if err != nil {
			f.Fatal(err)
		}
		plain := bytes.Repeat([]byte("text"), 1024)
		stored, used := c.compress(plain)
		s.add(idOf(plain), len(plain), stored, used)
		f.Add(stored, byte(used), uint16(len(plain)))
	}
	body, _ := s.encode()
	f.Add(body, byte(3), uint16(0))
	f.Fuzz(func(t *testing.T, data []byte, codec byte, size uint16) {
		plain := make([]byte, int(size)+16)
		guard := plain[size:]
		copy(guard, "0123456789abcdef")
		_ = decompress(plain[:size:size], data, Codec(codec)) // it may fail
		if string(guard) != "0123456789abcdef" {
			t.Fatal("wrote behind the end")
		}
		for n := 1; n <= 4; n++ {
			head := segmentHeader + n*tableEntry
			if len(data) < head {
				return
			}
			tb, err := parseTable(data[:head], uint32(len(data)))
			if err != nil {
				continue
			}
			for slot := range uint32(n) {
				if tb.starts[slot] > tb.starts[slot+1] || int(tb.starts[slot+1]) > len(data) {
					t.Fatalf("chunk %d is outside of the segment", slot)
				}
				c := tb.chunk(slot)
				_ = c.open(make([]byte, c.plain), data[tb.starts[slot]:tb.starts[slot+1]])
			}
			if mended := mend(data, segmentRef{chunks: uint32(n), size: uint32(len(data)), sum: tableSum(idOf(data[:head]))}); mended != nil && len(mended) != len(data) {
				t.Fatalf("mended to %d bytes from %d", len(mended), len(data))
			}
		}
	})
}
