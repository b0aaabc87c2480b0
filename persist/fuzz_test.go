package persist

import (
	"bytes"
	"testing"

	"github.com/holt-ide/holt/meta"
)

// What is taken apart and put together again is the same: there is one form of everything.
func FuzzEntries(f *testing.F) {
	list := []entry{
		{name: "a", kind: File, mode: 0o644, mtime: stamp{1, 2}, uid: usualID, gid: usualID, size: 5, content: stream{roleDirect, meta.BlobID{1}}, inode: 7, ctime: stamp{-3, 4}},
		{name: "b", kind: Folder, mode: 0o755, uid: 0, gid: 7, size: 5, files: 1, content: stream{roleList, meta.BlobID{2}}, torn: true},
		{name: "c", kind: Link, mode: 0o777, uid: usualID, gid: usualID, target: "../x"},
		{name: "d", kind: File, uid: usualID, gid: usualID},
	}
	var b []byte
	for i := range list {
		b = appendEntry(b, &list[i])
	}
	f.Add(b)
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := decodeEntries(b)
		if err != nil {
			return
		}
		var again []byte
		for i := range list {
			if !goodName(list[i].name) {
				t.Fatalf("name %q", list[i].name)
			}
			again = appendEntry(again, &list[i])
		}
		back, err := decodeEntries(again)
		if err != nil || len(back) != len(list) {
			t.Fatalf("encoded again: %v", err)
		}
		for i := range back {
			if back[i] != list[i] {
				t.Fatalf("%+v became %+v", list[i], back[i])
			}
		}
	})
}

func FuzzParts(f *testing.F) {
	f.Add(appendPart(appendPart(nil, part{size: 100, id: meta.BlobID{3}}), part{hole: true, size: 1 << 40}), int64(-1))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		list, err := decodeParts(b, size)
		if err != nil {
			return
		}
		var sum int64
		for _, p := range list {
			if p.size <= 0 || !p.hole && p.size > maxBlob {
				t.Fatalf("part %+v", p)
			}
			sum += p.size
		}
		if sum < 0 || size >= 0 && sum != size {
			t.Fatalf("%d bytes, want %d", sum, size)
		}
	})
}

func FuzzPack(f *testing.F) {
	var p packBuilder
	for _, text := range []string{"one", "two, which is longer", ""} {
		if text != "" {
			p.add(idOf([]byte(text)), kindData, len(text), []byte(text), codecNone)
		}
	}
	body, _, blobs := p.finish("x-0")
	f.Add(body)
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, err := decodeHead(b, int64(len(b)))
		if err != nil {
			return
		}
		for _, blob := range place("x-0", rows) {
			if blob.Offset < 0 || blob.Offset+blob.Length > int64(len(b)) {
				t.Fatalf("blob %+v in %d bytes", blob, len(b))
			}
			if plain, err := unpack(blob, b[blob.Offset:blob.Offset+blob.Length]); err == nil && idOf(plain) != blob.ID {
				t.Fatal("wrong bytes")
			}
		}
		if bytes.Equal(b, body) && len(rows) != len(blobs) {
			t.Fatalf("%d rows", len(rows))
		}
	})
}
